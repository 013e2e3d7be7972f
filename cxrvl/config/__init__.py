"""Configs: their schema, how they are composed, and what is checked before anything is built."""

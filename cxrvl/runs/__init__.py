"""Runs: their identity, their folder, and how they are computed exactly once."""

"""Published checkpoints of other code, translated into this project's names."""

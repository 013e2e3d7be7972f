"""Hydra's view of cxrvl's launcher for one machine, `hydra/launcher=gpus`, and of its sweeper `hydra/sweeper=grid`."""

"""Hydra's view of cxrvl's launcher for a Ray cluster, `hydra/launcher=ray`."""

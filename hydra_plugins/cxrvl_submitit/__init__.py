"""Hydra's view of cxrvl's launchers for Slurm, `hydra/launcher=submitit_slurm` and `submitit_local`."""

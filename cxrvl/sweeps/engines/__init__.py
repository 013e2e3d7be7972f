"""Engines that run a sweep's jobs on other machines: Slurm through submitit, and Ray."""

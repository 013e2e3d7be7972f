"""How does Hydra run a sweep on Slurm? Each job is a job of the queue; the settings bear submitit's names."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional

from hydra.core.config_store import ConfigStore

from cxrvl.sweeps.hydra_launcher import EngineLauncher

# ruff: noqa: UP045 - OmegaConf reads Optional[...] in all its versions


@dataclass
class SubmititLauncherConf:
    """What both can be told, as hydra.launcher.<key>."""

    max_requeues: int = 20
    """How often a job that was stopped (time limit, pre-emption) is queued again; it continues where it was."""
    on_interrupt: str = "cancel"
    """cancel | leave: what becomes of the jobs when this process is stopped, by Ctrl-C say."""
    retry_failed: bool = False
    """Run those again that failed before; else they are reported, and count as failed."""
    grace_seconds: float = 30.0
    """Seconds a job has to write its resume point when it is stopped; less than signal_delay_s."""
    submitit_folder: Optional[str] = None
    """Where submitit's scripts and the jobs' output go, on the shared file system; null = <paths.runs>/.sweeps."""
    timeout_min: Optional[int] = None
    """Time limit of a job, in minutes."""
    signal_delay_s: int = 90
    """How long before its time limit a job is told to stop, in seconds."""
    setup: Optional[list[str]] = None
    """Shell lines to run on the node before the job, such as `module load cuda`."""


@dataclass
class LocalLauncherConf(SubmititLauncherConf):
    """Keys of `hydra/launcher=submitit_local`: the way to Slurm, tried out on this machine."""

    _target_: str = "hydra_plugins.cxrvl_submitit.launcher.LocalLauncher"
    max_requeues: int = 5
    array_parallelism: Optional[int] = None
    """Jobs that run at the same time; null = cores / threads of a job."""
    gpus_per_node: Optional[int] = None
    """GPUs each job sees, the same for all; hydra/launcher=gpus gives each its own."""


@dataclass
class SlurmLauncherConf(SubmititLauncherConf):
    """Keys of `hydra/launcher=submitit_slurm`. Those that are null are left to the cluster, or follow from the job."""

    _target_: str = "hydra_plugins.cxrvl_submitit.launcher.SlurmLauncher"
    on_interrupt: str = "leave"
    timeout_min: Optional[int] = 60
    partition: Optional[str] = None
    account: Optional[str] = None
    qos: Optional[str] = None
    mem_gb: Optional[float] = None
    cpus_per_task: Optional[int] = None
    """CPUs of a process that srun starts; null = threads and loader workers of all ranks it holds."""
    gpus_per_node: Optional[int] = None
    """null = trainer.devices unless trainer.accelerator=cpu; 0 = none."""
    gres: Optional[str] = None
    """Such as gpu:a100:2, in place of gpus_per_node."""
    constraint: Optional[str] = None
    nodelist: Optional[str] = None
    exclude: Optional[str] = None
    exclusive: Optional[bool] = None
    comment: Optional[str] = None
    array_parallelism: int = 256
    """Jobs of an array that run at the same time."""
    srun_args: Optional[list[str]] = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    """Any other sbatch option by its long name: +hydra.launcher.additional_parameters={mail-type: END}."""


ConfigStore.instance().store(group="hydra/launcher", name="submitit_local", node=LocalLauncherConf, provider="cxrvl")
ConfigStore.instance().store(group="hydra/launcher", name="submitit_slurm", node=SlurmLauncherConf, provider="cxrvl")


class SlurmLauncher(EngineLauncher):
    """Jobs of Slurm's queue."""

    conf: ClassVar[type] = SlurmLauncherConf
    local = False

    def engine(self, settings: dict[str, Any]) -> Any:
        """Return the engine."""
        from cxrvl.sweeps.engines.submitit import engine

        return engine(settings, self.local)


class LocalLauncher(SlurmLauncher):
    """Processes of this machine, started the way Slurm's are."""

    conf = LocalLauncherConf
    local = True

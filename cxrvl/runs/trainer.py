"""How is a Lightning trainer set up so that a run is a function of its config?"""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import Strategy
from torch import nn

from cxrvl.config.build import build
from cxrvl.config.devices import device_count
from cxrvl.data.modules.base import CXRDataModule
from cxrvl.data.modules.image import ImageDataModule
from cxrvl.errors import ConfigError
from cxrvl.runs.place import place
from cxrvl.tasks.base import Task
from cxrvl.tracking.loggers import build_loggers


def quieten() -> None:
    """Silence what Lightning tells every user at every start and no one can act upon."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*custom batch sampler.*",
        ".*does not have many workers.*",
        ".*smaller than the logging interval.*",
        ".*isinstance.treespec.*",
        ".*recommended to use .self.log.*sync_dist=True.*",
        ".*`is_gradient_checkpointing` is deprecated.*",  # peft asks a transformers newer than itself
        "Found .* module\\(s\\) in eval mode at the start of training.*",  # the teacher is meant to be
    ):
        warnings.filterwarnings("ignore", message)


def set_up_process(config: dict) -> None:
    """Fix threads and seeds of this process, as the config says."""
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    if torch.cuda.is_available():
        # Some CUDA matrix products are only deterministic with a fixed workspace.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def build_data(config: dict) -> CXRDataModule:
    """Build the data module; nothing is read yet."""
    return build(config["data"])


def build_images(config: dict) -> ImageDataModule:
    """Build the data module of a config whose data are images; nothing is read yet.

    Raises:
        ConfigError: its data are reports alone.
    """
    data = build_data(config)
    if not isinstance(data, ImageDataModule):
        raise ConfigError(
            f"data._target_={config['data']['_target_']} reads no images; this needs data with an image store"
        )
    return data


def build_task(config: dict, pretrained: bool = True) -> Task:
    """Build model and task, weights seeded by the config's seed.

    Args:
        pretrained: load the published weights the config names; not needed where a checkpoint follows anyway.
    """
    torch.manual_seed(config["seed"])
    model = build(config["model"] if pretrained else _unweighted(config["model"]))
    return build(config["task"])(model=model)


def _unweighted(node: Any) -> Any:
    """Return a model config that asks for no published weights."""
    if isinstance(node, dict):
        return {k: None if k == "weights" else _unweighted(v) for k, v in node.items()}
    return node


def build_trainer(
    config: dict, folder: Path, callbacks: list[pl.Callback], heads_take_turns: bool = False
) -> pl.Trainer:
    """Build the trainer of a run, for this process as one of those that compute it; it never starts another.

    Args:
        heads_take_turns: see `Task`; several processes then look which parameters a step trains.

    Raises:
        ConfigError: settings Lightning does not accept, or several processes asked of one that is alone.
    """
    settings = dict(config["trainer"])
    environment = cluster_environment()
    settings["strategy"] = _strategy(settings["strategy"], heads_take_turns)
    settings["enable_progress_bar"] = settings["enable_progress_bar"] and sys.stderr.isatty()
    # warn: on a GPU a few operators (bilinear upsampling backward) have no deterministic form yet.
    settings["deterministic"] = "warn" if settings["deterministic"] else False
    try:
        return pl.Trainer(
            **settings,
            callbacks=[*callbacks, *(build(c) for c in config["callbacks"].values())],
            logger=build_loggers(config, folder),
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            benchmark=False,
            plugins=[environment],
            sync_batchnorm=_several_gpus(settings),
        )
    except (ValueError, TypeError, pl.utilities.exceptions.MisconfigurationException) as error:
        raise ConfigError(f"Lightning refuses the trainer settings: {str(error).splitlines()[0]}") from error


def cluster_environment() -> ClusterEnvironment:
    """Return what tells Lightning this process's rank; Slurm's jobs are requeued by their launcher, not by Lightning."""
    started_by = place().started_by
    if started_by == "slurm":
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment() if started_by == "nobody" else TorchElasticEnvironment()


def _strategy(name: str, heads_take_turns: bool) -> str | Strategy:
    """Return how processes share the training; one alone shares nothing."""
    if place().world == 1:
        return "auto"
    if name == "fsdp":
        from cxrvl.runs.sharding import ShardedStrategy

        return ShardedStrategy()
    return "ddp_find_unused_parameters_true" if heads_take_turns and name in ("auto", "ddp") else name


def local_processes(config: dict) -> int:
    """Return how many processes compute a run on this machine.

    Raises:
        ConfigError: several nodes, whose processes only srun or torchrun can start.
    """
    settings = config["trainer"]
    count = device_count(settings["devices"])
    if count == 0:
        count = max(1, torch.cuda.device_count()) if settings["accelerator"] in ("auto", "gpu", "cuda") else 1
    if settings["num_nodes"] > 1 and not place().outside:
        raise ConfigError(
            f"trainer.num_nodes={settings['num_nodes']}: this process cannot start ranks on other machines; start one per "
            f"device with srun (srun --ntasks-per-node={count} cxrvl train ...) or torchrun"
        )
    return count


def alone(config: dict) -> dict:
    """Return a config for this process alone, on one device: evaluations need no more, and do not depend on it."""
    one = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    return {**config, "trainer": {**config["trainer"], **one}}


def unsharded(task: Task, trainer: pl.Trainer, config: dict) -> Task:
    """Return a task that takes whole weights: another one where training has cut this one's among the processes."""
    from cxrvl.runs.sharding import ShardedStrategy

    return build_task(config, pretrained=False) if isinstance(trainer.strategy, ShardedStrategy) else task


def precision_of(config: dict) -> Precision:
    """Return how a run's forward passes round on a CPU, for a forward pass without a trainer."""
    quiet: Any = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", precision=config["trainer"]["precision"], **quiet).precision_plugin


def _several_gpus(settings: dict[str, Any]) -> bool:
    """Synchronise BatchNorm wherever it can be: it has no CPU form, see `refuse_split`."""
    return place().world > 1 and settings["accelerator"] != "cpu" and torch.cuda.is_available()


def refuse_split(trainer: pl.Trainer, model: nn.Module) -> None:
    """Refuse several processes for a model that cannot be shared among them, before any data are prepared.

    Raises:
        ConfigError: BatchNorm on CPUs, whose statistics would depend on the number of processes; weights that cannot be cut,
            see `cxrvl.runs.sharding.refuse_uncut`.
    """
    if trainer.world_size > 1:
        from cxrvl.runs.sharding import ShardedStrategy, refuse_uncut

        if isinstance(trainer.strategy, ShardedStrategy):
            refuse_uncut(model)
    has_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if trainer.world_size > 1 and has_norm and trainer.strategy.root_device.type == "cpu":
        raise ConfigError(
            f"trainer.devices={trainer.num_devices} on CPU would split the BatchNorm batch, which is synchronised on GPUs "
            "alone; set trainer.devices=1 and threads, or another norm (+model.backbone.norm=group for a ResNet)"
        )

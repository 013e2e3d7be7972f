"""How are weights, gradients and optimiser state cut among the processes, while every checkpoint stays whole?

PyTorch's `fully_shard` (FSDP2), which runs on CPU and gloo as it does on GPUs, behind Lightning's ModelParallelStrategy.
Lightning's own `fsdp` is the older FullyShardedDataParallel: on GPUs alone, and its resume points number the optimiser's
state by the model's order of parameters, which another number of processes would read as that of its groups.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from cxrvl.errors import ConfigError

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class ShardedStrategy(ModelParallelStrategy):
    """Cuts a task's modules among all processes; checkpoints are those of one process."""

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Join the process group; all of it shares the data."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def setup(self, trainer: pl.Trainer) -> None:
        """Move the task to its device, cut it, and build its optimisers."""
        assert self.model is not None
        assert self.accelerator is not None
        self.accelerator.setup(trainer)
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and self._layer_sync is not None:
            self.model = self._layer_sync.apply(self.model)
        self.model = self.precision_plugin.convert_module(self.model)
        self.model_to_device()
        shard(self.model, self.device_mesh["data_parallel"])
        self.barrier()
        if fitting:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole state on rank 0, numbered as one process numbers it: by the order in its groups."""
        optimizer = _plain(optimizer)
        assert self.model is not None
        named: dict[str, Any] = dict(get_optimizer_state_dict(self.model, optimizer, options=WHOLE))
        if not named:
            return {}
        number: dict[str, int] = {}
        groups = []
        for group in named["param_groups"]:
            for name in group["params"]:
                number[name] = len(number)
            groups.append({**group, "params": [number[name] for name in group["params"]]})
        return {"state": {number[name]: state for name, state in named["state"].items()}, "param_groups": groups}

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a whole checkpoint, written by any number of processes; each takes its share of weights and state."""
        assert self.model is not None
        checkpoint: dict[str, Any] = torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        options = StateDictOptions(full_state_dict=True, strict=True)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=options)
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            named = self._named(_plain(optimizer), state)
            set_optimizer_state_dict(self.model, _plain(optimizer), named, options=options)
        return checkpoint

    def _named(self, optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return an optimiser's state by the names of the parameters instead of their numbers."""
        assert self.model is not None
        name_of = {id(parameter): name for name, parameter in self.model.named_parameters()}
        own = [name_of[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        saved = [number for group in state["param_groups"] for number in group["params"]]
        name = dict(zip(saved, own, strict=True))
        groups = [{**group, "params": [name[n] for n in group["params"]]} for group in state["param_groups"]]
        return {"state": {name[n]: values for n, values in state["state"].items()}, "param_groups": groups}


def shard(task: nn.Module, mesh: DeviceMesh) -> None:
    """Cut every module a task holds, block by block, so that one block at a time is whole on a device.

    Raises:
        ConfigError: see `refuse_uncut`.
    """
    refuse_uncut(task)
    for module in task.children():
        if any(True for _ in module.parameters()):
            for block in _blocks(module):
                fully_shard(block, mesh=mesh)
            fully_shard(module, mesh=mesh)


def refuse_uncut(task: nn.Module) -> None:
    """Refuse a task with weights that cannot be cut.

    Raises:
        ConfigError: parameters that belong to the task itself, which no module's forward pass would gather; or one that is
            a single number, such as a dual tower's scale.
    """
    loose = [name for name, _ in task.named_parameters(recurse=False)]
    if loose:
        raise ConfigError(
            f"trainer.strategy=fsdp cuts modules, but {type(task).__name__} itself holds {loose[0]}; put it in a module, "
            "or use trainer=ddp"
        )
    single = [name for name, parameter in task.named_parameters() if parameter.ndim == 0]
    if single:
        raise ConfigError(
            f"trainer.strategy=fsdp cuts every parameter, and {single[0]} of this {type(task).__name__} is a single number; "
            "use trainer=ddp, with task.chunk and gradient checkpointing where memory is short"
        )


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of a network, inner ones first: members of a sequence that are made of several modules.

    A member without modules of its own may be used by its weights alone, and would not be gathered then.
    """
    for child in module.children():
        yield from _blocks(child)
        if isinstance(module, nn.Sequential | nn.ModuleList) and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            weights = any(True for _ in child.parameters())
            if weights and any(True for _ in child.children()):
                yield child


def _plain(optimizer: Optimizer) -> Optimizer:
    return optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer

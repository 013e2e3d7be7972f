"""When is a run's state written, and which weights does it leave behind?"""

import math
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
import torch

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, RunError, WeightsError
from cxrvl.files import write_atomic

RESUME, BEST, FINAL = "last.ckpt", "best.ckpt", "final.ckpt"


class CheckpointKeeper(pl.Callback):
    """Writes the resume point `last.ckpt`, the best weights `best.ckpt` and the final weights `final.ckpt`, atomically.

    The resume point is only ever taken between two optimiser steps inside an epoch: the one place from which
    Lightning continues exactly (at an epoch's end it would skip the validation or the schedule).

    Args:
        folder: of the checkpoints.
        monitor, mode: logged name that decides the best weights, and whether it should be max or min.
        every_seconds, every_steps: how often the resume point is written.
    """

    def __init__(
        self, folder: Path, monitor: str, mode: str, every_seconds: float = 60.0, every_steps: int | None = None
    ) -> None:
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._written = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return what decides the best weights so far."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what decided the best weights so far."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the resume point when it is due."""
        last_of_epoch = batch_idx + 1 >= trainer.num_training_batches
        mid_accumulation = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if last_of_epoch or mid_accumulation:
            return
        due = time.monotonic() - self._written >= self.every_seconds
        if self.every_steps and trainer.global_step % self.every_steps == 0:
            due = True
        if trainer.world_size > 1:
            due = bool(trainer.strategy.broadcast(due))
        if due:
            save_trainer(trainer, self.folder / RESUME)
            self._written = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the best weights when this validation is the best so far; the first of equals stays."""
        if trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            logged = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise ConfigError(
                f"task.monitor={self.monitor} is nothing validation logs{did_you_mean(self.monitor, logged)}"
            )
        value = float(trainer.callback_metrics[self.monitor])
        better = not math.isnan(value) and (
            self.best is None or (value > self.best if self.mode == "max" else value < self.best)
        )
        if better:
            self.best, self.best_epoch = value, trainer.current_epoch
            self._save_weights(trainer, pl_module, BEST)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final weights."""
        self._save_weights(trainer, pl_module, FINAL)

    def _save_weights(self, trainer: pl.Trainer, pl_module: pl.LightningModule, name: str) -> None:
        if trainer.is_global_zero:
            state = {"state_dict": pl_module.state_dict(), "epoch": trainer.current_epoch, "step": trainer.global_step}
            write_atomic(self.folder / name, lambda file: torch.save(state, file))
        trainer.strategy.barrier()


def save_trainer(trainer: pl.Trainer, path: Path) -> None:
    """Write the whole training state through a temporary file in the same folder."""
    state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    if trainer.is_global_zero:
        write_atomic(path, lambda file: torch.save(state, file))
    trainer.strategy.barrier()


def load_weights(path: Path) -> dict[str, Any]:
    """Read a checkpoint's state dict without executing anything in it.

    Raises:
        WeightsError: no such file, or not a checkpoint this project wrote.
    """
    if not path.is_file():
        raise WeightsError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(f"{path} is no checkpoint, or holds more than weights, and is refused") from error
    except Exception as error:  # torch's reader has no one error for bytes it does not expect: OSError is one of them
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        raise WeightsError(f"{path} cannot be read as a checkpoint, it may be cut short ({reason})") from error
    if not isinstance(state, dict) or "state_dict" not in state:
        raise WeightsError(f"{path} is no checkpoint of cxrvl: it has no state_dict")
    return state["state_dict"]


def load_into(task: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint into a task, every key or none.

    Raises:
        WeightsError: keys or shapes differ, naming the first of each.
    """
    state = load_weights(path)
    own = task.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or unexpected or shapes:
        parts = [
            f"{len(keys)} {what} (first: {keys[0]})"
            for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if keys
        ]
        raise WeightsError(
            f"{path} belongs to another model: {', '.join(parts)} of {len(own)} tensors; nothing was loaded. "
            "Compose the config of the run that wrote it"
        )
    task.load_state_dict(state, strict=True)


def resume_point(folder: Path) -> Path | None:
    """Return the resume point of a run, if one was written and can be read.

    Raises:
        RunError: the file is there but broken (a disk fault: it is written atomically).
    """
    path = folder / RESUME
    if not path.is_file():
        return None
    try:
        load_weights(path)
    except WeightsError as error:
        raise RunError(f"{error}; remove it to start this run afresh") from error
    return path

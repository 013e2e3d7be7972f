"""When is a run's state written, and which weights does it leave behind?"""

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, RunError, WeightsError
from cxrvl.files import write_atomic
from cxrvl.models.later_keys import may_lack
from cxrvl.models.torch_files import COPY_AGAIN, read_torch_file
from cxrvl.models.weights import as_state, listed_keys
from cxrvl.runs.origin import origin, refuse_foreign
from cxrvl.runs.place import place
from cxrvl.runs.store import Run
from cxrvl.tasks.base import Task

log = logging.getLogger(__name__)

RESUME, PREVIOUS, BEST, FINAL = "last.ckpt", "previous.ckpt", "best.ckpt", "final.ckpt"
NEXT = ".next.ckpt.tmp"


class CheckpointKeeper(pl.Callback):
    """Writes the resume point `last.ckpt`, the best weights `best.ckpt` and the final weights `final.ckpt`, atomically.

    The resume point is only ever taken between two optimiser steps inside an epoch: the one place from which
    Lightning continues exactly (at an epoch's end it would skip the validation or the schedule). The one before
    stays as `previous.ckpt`, for the day the file system loses the last.

    Args:
        folder: of the checkpoints.
        monitor, mode: logged name that decides the best weights, and whether it should be max or min.
        every_seconds, every_steps: how often the resume point is written.
        written_by: the run and its scientific config (`cxrvl.runs.origin.origin`), written into every checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        mode: str,
        every_seconds: float = 60.0,
        every_steps: int | None = None,
        written_by: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self.written_by = written_by
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._written = time.monotonic()
        self._last_is_broken = False
        self._taken: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what decides the best weights so far."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what decided the best weights so far."""
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take note where this training continues from."""
        self._last_is_broken = trainer.ckpt_path is not None and Path(trainer.ckpt_path).name == PREVIOUS
        self._written = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the state for a resume point when one is due.

        It is written as the next batch begins, before anything of it can change: Lightning logs this step only after
        this hook, and a process killed between the two would have a resume point behind a step that nobody logged.
        """
        if not self.may_save(trainer, batch_idx):
            return
        due = time.monotonic() - self._written >= self.every_seconds
        if self.every_steps and trainer.global_step % self.every_steps == 0:
            due = True
        if trainer.world_size > 1:
            due = bool(trainer.strategy.broadcast(due))
        if due:
            self._taken = self._state(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write the state that was taken after the last batch."""
        if self._taken is not None:
            self._write(trainer, self._taken)

    def may_save(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Return whether Lightning would continue exactly from a resume point written after this batch."""
        last_of_epoch = batch_idx + 1 >= trainer.num_training_batches
        mid_accumulation = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        return not last_of_epoch and not mid_accumulation and not _validates_next(trainer, batch_idx)

    def save(self, trainer: pl.Trainer) -> None:
        """Write the resume point now; every rank takes part, and `may_save` must allow it."""
        self._write(trainer, self._state(trainer))

    def _state(self, trainer: pl.Trainer) -> dict[str, Any]:
        return trainer._checkpoint_connector.dump_checkpoint(weights_only=False) | {"written_by": self.written_by}

    def _write(self, trainer: pl.Trainer, state: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            self._replace_resume_point(state)
        self._taken = None
        self._last_is_broken = False
        trainer.strategy.barrier()
        self._written = time.monotonic()

    def _replace_resume_point(self, state: dict[str, Any]) -> None:
        """Write the new resume point, then make the last one the previous one and the new one the last.

        The older of the two goes first, so that no more than two lie on the disk; wherever this is cut short, one
        whole resume point is left under one of the two names.
        """
        last, previous, new = (self.folder / name for name in (RESUME, PREVIOUS, NEXT))
        (last if self._last_is_broken else previous).unlink(missing_ok=True)
        new.unlink(missing_ok=True)
        write_atomic(new, lambda file: torch.save(state, file))
        if last.is_file():
            last.replace(previous)
        new.replace(last)

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
        if trainer.world_size > 1:
            better = bool(trainer.strategy.broadcast(better))
        if better:
            self.best, self.best_epoch = value, trainer.current_epoch
            self._save_weights(trainer, pl_module, BEST)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final weights, and first what was taken at a last step within an epoch."""
        if self._taken is not None:
            self._write(trainer, self._taken)
        self._save_weights(trainer, pl_module, FINAL)

    def save_untrained(self, task: Task) -> None:
        """Write the weights a task starts with as its final ones, for a run without a training step."""
        if place().rank == 0:
            self._write_weights(task.state_dict(), 0, 0, task, FINAL)

    def _save_weights(self, trainer: pl.Trainer, pl_module: pl.LightningModule, name: str) -> None:
        weights = averaged(trainer)
        if weights is None:
            weights = trainer.strategy.lightning_module_state_dict()  # collective: sharded weights are gathered here
        if trainer.is_global_zero:
            self._write_weights(weights, trainer.current_epoch, trainer.global_step, pl_module, name)
        trainer.strategy.barrier()

    def _write_weights(
        self, weights: Mapping[str, Any], epoch: int, step: int, module: pl.LightningModule, name: str
    ) -> None:
        state = {
            "state_dict": weights, "epoch": epoch, "step": step, "written_by": self.written_by,
            "best_epoch": self.best_epoch, "parts": module.parts() if isinstance(module, Task) else {},
        }  # fmt: skip
        write_atomic(self.folder / name, lambda file: torch.save(state, file))


def averaged(trainer: pl.Trainer) -> Mapping[str, Any] | None:
    """Return the state of the averaged network, which is then the one to be judged and used; None where none is kept.

    Lightning's averaging validates with it and hands it over at the very end, after everything here is written.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:
            state: Mapping[str, Any] = callback._average_model.module.state_dict()
            return state
    return None


def _validates_next(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Return whether a validation within the epoch follows this batch: a resumed run would leave it out."""
    every = trainer.val_check_batch
    if every is None or every == float("inf"):
        return False
    counted = batch_idx if trainer.check_val_every_n_epoch else trainer.fit_loop.epoch_loop.total_batch_idx
    return (counted + 1) % int(every) == 0


def used_weights(run: Run, use: str) -> Path:
    """Return the file of the weights a run is judged by; one that never validated has no best ones, only final ones.

    Args:
        run: whose training has ended.
        use: best | final.

    Raises:
        WeightsError: best weights were written and are gone, or the final ones cannot be read.
    """
    best, final = run.checkpoints / BEST, run.checkpoints / FINAL
    if use == "best" and best.is_file():
        return best
    if use == "best" and _read_of(run, final).get("best_epoch") is not None:
        raise WeightsError(
            f"there is no {best}, which this run has written; {again(run)}, or ask for the final weights"
        )
    return final


def again(run: Run) -> str:
    """Return what to do about a run whose weights cannot be used."""
    return f"remove run {run.run_id} (cxrvl runs rm {run.run_id}) and train it again"


def _read_of(run: Run | None, path: Path) -> dict[str, Any]:
    """Read a checkpoint, and say what to do where it is damaged."""
    try:
        return _read(path)
    except WeightsError as error:
        if run is None:
            raise
        raise WeightsError(f"{error}; {again(run)}") from error


def _read(path: Path, remedy: str = COPY_AGAIN) -> dict[str, Any]:
    content = read_torch_file(path, remedy)
    if not isinstance(content, dict) or "state_dict" not in content:
        raise WeightsError(f"{path} is no checkpoint of cxrvl: it has no state_dict")
    as_state(content["state_dict"], str(path))
    return content


def load_into(task: torch.nn.Module, path: Path, run: Run | None = None) -> None:
    """Load a checkpoint into a task, every key or none.

    Args:
        task: takes the weights.
        path: of the checkpoint.
        run: whose checkpoint it has to be; None accepts anyone's.

    Raises:
        WeightsError: the file is damaged, or keys or shapes differ, naming them, or the first of many.
        RunError: another run wrote the checkpoint, naming the config keys that differ.
    """
    content = _read_of(run, path)
    state, recorded = content["state_dict"], content.get("written_by")
    own = task.state_dict()
    missing = [k for k in own if k not in state and not may_lack(k)]
    unexpected = [k for k in state if k not in own]
    shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
    if missing or unexpected or shapes:
        parts = [
            f"{len(keys)} {what} ({listed_keys(keys)})"
            for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if keys
        ]
        raise WeightsError(
            f"{path} belongs to another model: {', '.join(parts)} of {len(own)} tensors; nothing was loaded. "
            "Compose the config of the run that wrote it"
        )
    if run is not None and recorded is not None and recorded["run_id"] != run.run_id:
        refuse_foreign(path, recorded, origin(run.run_id, run.config()), again(run))
    task.load_state_dict(state, strict=True)


def resume_point(folder: Path, expected: Mapping[str, Any] | None = None) -> Path | None:
    """Return the newest resume point of a run that can be read, if one was written; a broken one is told of.

    Args:
        folder: of the checkpoints.
        expected: what the resume point must have been written by (`cxrvl.runs.origin.origin`).

    Raises:
        RunError: what was written is broken (a disk fault: it is written atomically), or by another config.
    """
    written = [folder / name for name in (RESUME, PREVIOUS) if (folder / name).is_file()]
    broken: list[str] = []
    for path in written:
        try:
            content = _read(path, remedy="")  # it follows below
        except WeightsError as error:
            broken.append(str(error))
            continue
        if expected is not None:
            refuse_foreign(path, content.get("written_by"), expected, "remove it to start this run afresh")
        if broken:
            log.warning("%s; continuing from the resume point before it, %s", broken[0], path.name)
        elif path.name == PREVIOUS:
            log.warning("there is no %s (killed while it was written); continuing from %s", folder / RESUME, path.name)
        return path
    if broken:
        both = f", and {PREVIOUS} beside it is broken too; remove both" if len(broken) > 1 else "; remove it"
        raise RunError(f"{broken[0]}{both} to start this run afresh")
    return None

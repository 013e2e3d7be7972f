"""How fast is training, what does it wait for, and how much GPU memory does it need?"""

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

GIB = 2**30


class Throughput(pl.Callback):
    """Logs speed, waiting, GPU memory and learning rates beside the losses; it never waits for the GPU in between.

    Logged every `trainer.log_every_n_steps` steps, over the steps since the last time, validation left out:
    `speed/images_per_second` and, where batches have an `attention_mask`, `speed/tokens_per_second`, both over all
    devices; `speed/data_wait`, the share of the time spent waiting for the loader, in [0, 1]; on a GPU
    `memory/gpu_peak_gib`, the most that tensors took since training began; `learning_rate/<group>`, as the
    logged step used it, by the group's `name` or else its number.
    """

    def __init__(self) -> None:
        self._clear()
        self._mark = 0.0
        self._waited_before: float | None = None
        self._rates: dict[str, float] = {}

    def _clear(self) -> None:
        self._seconds, self._waited, self._images = 0.0, 0.0, 0
        self._tokens: Tensor | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure; GPU memory is counted from here."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)
        self._clear()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; a new epoch may have a new loader."""
        self._resume_clock(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock again: validation is no training."""
        self._resume_clock(trainer)

    def _resume_clock(self, trainer: pl.Trainer) -> None:
        self._mark, self._waited_before = time.perf_counter(), _waited(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rates before a schedule moves them on."""
        self._rates = learning_rates(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count one batch, and log when it is time."""
        now, waited = time.perf_counter(), _waited(trainer)
        self._seconds += now - self._mark
        if waited is not None and self._waited_before is not None:
            self._waited += max(0.0, waited - self._waited_before)
        self._mark, self._waited_before = now, waited
        self._count(batch)
        accumulating = (
            batch_idx + 1
        ) % trainer.accumulate_grad_batches and batch_idx + 1 < trainer.num_training_batches
        if _is_logged(trainer) and not accumulating:
            metrics = {**self._rates, **self._measured(trainer)}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, step=_step(trainer))
            self._clear()

    def _count(self, batch: Any) -> None:
        if not isinstance(batch, Mapping):
            return
        for part in batch.values():  # the streams of a step
            self._count(part)
        if isinstance(batch.get("image"), Tensor):
            self._images += len(batch["image"])
        if isinstance(batch.get("attention_mask"), Tensor):
            tokens = batch["attention_mask"].sum()  # stays on its device: reading it now would wait for the GPU
            self._tokens = tokens if self._tokens is None else self._tokens + tokens

    def _measured(self, trainer: pl.Trainer) -> dict[str, float]:
        seconds, world = max(self._seconds, 1e-9), trainer.world_size
        found: dict[str, float] = {}
        if self._waited_before is not None:
            found["speed/data_wait"] = min(1.0, self._waited / seconds)
        if self._images:
            found["speed/images_per_second"] = self._images * world / seconds
        if self._tokens is not None:
            found["speed/tokens_per_second"] = float(self._tokens) * world / seconds
        if trainer.strategy.root_device.type == "cuda":
            found["memory/gpu_peak_gib"] = torch.cuda.max_memory_allocated(trainer.strategy.root_device) / GIB
        return found


def learning_rates(trainer: pl.Trainer) -> dict[str, float]:
    """Return the learning rate of every parameter group, as `learning_rate/<name of the group, or its number>`."""
    several = len(trainer.optimizers) > 1
    return {
        f"learning_rate/{f'{i}.' if several else ''}{group.get('name', g)}": float(group["lr"])
        for i, optimizer in enumerate(trainer.optimizers)
        for g, group in enumerate(optimizer.param_groups)
    }


def _step(trainer: pl.Trainer) -> int:
    """Return the number Lightning logs a step's losses under; nothing public says it."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def _is_logged(trainer: pl.Trainer) -> bool:
    """Return whether Lightning logs the losses of this step, as its own monitors ask."""
    return trainer._logger_connector.should_update_logs


def _waited(trainer: pl.Trainer) -> float | None:
    """Return the seconds spent in the training loader so far; None for a loader that does not count them."""
    return getattr(trainer.train_dataloader, "seconds_waited", None)

"""When does a training say how far it is?"""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from cxrvl.runs.progress import write_progress

EVERY_SECONDS = 1.0


class ProgressWriter(pl.Callback):
    """Writes `progress.json` at most every second, and at each validation.

    Args:
        folder: the run's.
        monitor, mode: logged name that decides the best weights, and whether it should be max or min.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.value: float | None = None
        self.best: float | None = None
        self._written = -math.inf
        self._total: int | None = None
        self._started = (0.0, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the monitored value and its best so far."""
        return {"value": self.value, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the monitored value and its best so far."""
        self.value, self.best = state_dict["value"], state_dict["best"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure the pace: that of this process, wherever it continues."""
        steps = trainer.estimated_stepping_batches
        self._total = int(steps) if math.isfinite(steps) else None
        self._started = (time.monotonic(), trainer.global_step)
        self._write(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write when it is due."""
        if time.monotonic() - self._written >= EVERY_SECONDS:
            self._write(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the metric just measured."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        self.value = None if math.isnan(value) or math.isinf(value) else value
        if self.value is not None:
            better = max if self.mode == "max" else min
            self.best = self.value if self.best is None else better(self.best, self.value)
        self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last step."""
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        self._written = time.monotonic()
        done = trainer.global_step - self._started[1]
        left = None
        if self._total is not None and done > 0:
            left = round((self._written - self._started[0]) / done * max(0, self._total - trainer.global_step), 1)
        write_progress(self.folder, {
            "epoch": trainer.current_epoch,
            "max_epochs": trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None,
            "step": trainer.global_step, "total_steps": self._total,
            "monitor": self.monitor, "value": self.value, "best": self.best,
            "seconds_left": left, "time": round(time.time(), 3),
        })  # fmt: skip

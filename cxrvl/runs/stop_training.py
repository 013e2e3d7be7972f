"""Where does a training that was asked to stop do so, and what does it leave behind?"""

from typing import Any

import pytorch_lightning as pl

from cxrvl.runs import stopping
from cxrvl.runs.checkpoints import CheckpointKeeper


class StopAtResumePoint(pl.Callback):
    """Stops a training between two optimiser steps, after writing its resume point; all ranks at the same step.

    While training steps are computed, a request is only noted. Everywhere else (validation, prediction, set-up) there
    is nothing new to write, and it stops the process at once: asked again, the run continues from its last resume
    point.

    Args:
        keeper: writes the resume point; this callback is to stand behind it.
    """

    def __init__(self, keeper: CheckpointKeeper) -> None:
        self.keeper = keeper

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back: Lightning's handlers would requeue Slurm jobs, or broadcast within a handler."""
        stopping.keep()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back, see above."""
        stopping.keep()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on the next resume point is a step away."""
        stopping.defer(True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the resume point and stop, if any rank was asked to."""
        if self.keeper.may_save(trainer, batch_idx) and self._agreed(trainer):
            # Lightning logs a step after these callbacks; the resumed run does not compute this one again.
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
            self.keeper.save(trainer)
            raise stopping.Stopped

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before a validation rather than after it: no resume point can be written until it is over."""
        if self._agreed(trainer):
            raise stopping.Stopped
        stopping.defer(False)
        stopping.stop_if_requested()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What follows is a further step, and its resume point, or the final weights."""
        stopping.defer(trainer.state.fn == "fit")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The final weights are written; from here on a request stops the process wherever it is."""
        stopping.defer(False)
        stopping.stop_if_requested()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """What failed will not come to a resume point any more."""
        stopping.defer(False)

    def _agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any rank was asked: signals reach the ranks at different steps, but they must stop at the same one."""
        return bool(trainer.strategy.reduce_boolean_decision(stopping.requested(), all=False))

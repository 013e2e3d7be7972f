"""What do all tasks share? Logging, optimiser groups, schedules, reproducible randomness, checkpoint hygiene."""

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from cxrvl.errors import ConfigError, RunError

Batch = dict[str, Any]


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Return the random seed of one training step, a hash of its place in the run, in [0, 2^63)."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{batch}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def device_count() -> int:
    """Return how many devices compute a step together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


@dataclass
class StepOutput:
    """What a task's step returns.

    While training on several devices, `loss` and `logs` are to be such that their averages over the devices are those
    of the whole batch: see `Task.over_devices`.

    Attributes:
        loss: scalar to minimise.
        logs: named scalars to log beside the loss.
        batch_size: number of scored items, for the mean over an epoch.
        outputs: tensors the validation metric needs, each (B, ...).
    """

    loss: Tensor
    batch_size: int
    logs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Scored:
    """One validation batch: study-table row of its first image, number of items, logged means, outputs."""

    first: int
    size: int
    logs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Task(pl.LightningModule):
    """Base of all tasks; a subclass writes `step` and, if it has one, `validation_metrics`.

    Args:
        model: the network.
        optimizer: factory taking the parameter groups.
        scheduler: factory taking the optimiser, and `total_steps` if it asks for it; a plateau schedule
            follows `monitor` once per validation, any other is stepped once per optimiser step.
        monitor: logged name that decides the best checkpoint and drives a plateau schedule.
        monitor_mode: max | min.
        decay_norm_and_bias: apply weight decay to biases and norm parameters too, as plain SGD scripts do.
        stop_after_drops: end training once a plateau schedule has lowered the rate this often; None = never.
        seed: of everything random inside a step.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler | ReduceLROnPlateau] | None = None,
        monitor: str = "val/loss",
        monitor_mode: str = "min",
        decay_norm_and_bias: bool = False,
        stop_after_drops: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if monitor_mode not in ("min", "max"):
            raise ConfigError(f"task.monitor_mode is {monitor_mode!r}; expected min or max")
        self.model = model
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.monitor, self.monitor_mode = monitor, monitor_mode
        self.decay_norm_and_bias, self.stop_after_drops, self.seed = decay_norm_and_bias, stop_after_drops, seed
        self.plateau: ReduceLROnPlateau | None = None
        self.drops = 0
        self._plateau_state: dict[str, Any] | None = None
        self._seen: list[Scored] = []

    # What a subclass writes.

    LIGHT: ClassVar[bool] = False
    """Quick to build without its weights: a run that makes others first builds it before, to refuse its settings in time."""

    OUTPUTS: ClassVar[tuple[str, ...]] = ("logits",)
    """Names under which an evaluator can ask for scores of what `predict_step` returns."""

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts whose weights other runs may start from, or be given: name -> prefix in the state dict."""
        return {}

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Compute one batch; `stage` is train or val."""
        raise NotImplementedError

    def validation_metrics(self, outputs: dict[str, Tensor]) -> dict[str, float]:
        """Return metrics of the whole validation split from its concatenated outputs."""
        return {}

    def heads_take_turns(self, data: Any) -> bool:
        """Return whether some training steps on these data leave parameters out that others train; devices wait for them."""
        return False

    # What Lightning calls.

    def forward(self, images: Tensor) -> Any:
        """Run the model."""
        return self.model(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Run and log one training step."""
        out = self.step(batch, "train")
        # Every device has an equal share of the batch, so averages over the devices are those of one device.
        self.log_dict(_named("train", out), batch_size=out.batch_size, on_step=True, on_epoch=False, sync_dist=True)
        return out.loss

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by place, not by history: a resumed run draws what an uninterrupted one would have drawn."""
        torch.manual_seed(step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Run one validation step, keeping what the metrics need; callbacks are shown the same on the CPU."""
        out = self.step(batch, "val")
        outputs = {name: value.detach().cpu() for name, value in out.outputs.items()}
        logs = {name: value.cpu() for name, value in _named("val", out).items()}
        self._seen.append(Scored(int(batch["index"][0]), out.batch_size, logs, outputs))
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log the means and metrics of the whole validation split, the same for any number of devices."""
        seen, self._seen = self._gathered(), []
        if seen:
            count = sum(part.size for part in seen)
            sums = {name: sum(part.logs[name] * part.size for part in seen) for name in seen[0].logs}
            self.log_dict({name: total / count for name, total in sums.items()})
            outputs = {name: torch.cat([part.outputs[name] for part in seen]) for name in seen[0].outputs}
            self._check_finite(outputs)
            metrics = {f"val/{k}": torch.tensor(v) for k, v in self.validation_metrics(outputs).items()}
            self.log_dict(metrics, prog_bar=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Any:
        """Return the model's output for one batch."""
        return self(batch["image"])

    def on_train_epoch_end(self) -> None:
        """Step a plateau schedule by the latest validation.

        Lightning's own stepping is left aside: it skips the schedule in the epoch that a resumed run finishes.
        """
        if self.plateau is None or self.monitor not in self.trainer.callback_metrics:
            return
        before = self.plateau.get_last_lr()
        self.plateau.step(float(self.trainer.callback_metrics[self.monitor]))
        self.drops += int(any(new < old for new, old in zip(self.plateau.get_last_lr(), before, strict=True)))
        if self.stop_after_drops is not None and self.drops >= self.stop_after_drops:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """Build the optimiser and its schedule."""
        try:
            optimizer = self.make_optimizer(self.parameter_groups())
        except (TypeError, ValueError) as error:
            raise ConfigError(f"task.optimizer cannot be built: {error}") from error
        if self.make_scheduler is None:
            return optimizer
        options = {}
        if "total_steps" in inspect.signature(self.make_scheduler).parameters:
            options["total_steps"] = int(self.trainer.estimated_stepping_batches)
        scheduler = self.make_scheduler(optimizer, **options)
        if isinstance(scheduler, ReduceLROnPlateau):
            self.plateau = scheduler
            if self._plateau_state is not None:
                scheduler.load_state_dict(self._plateau_state)
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the plateau schedule, as plain values, and which parts the weights have."""
        checkpoint["parts"] = self.parts()
        if self.plateau is not None:
            checkpoint["plateau"] = {"schedule": self.plateau.state_dict(), "drops": self.drops}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the plateau schedule up again."""
        if "plateau" in checkpoint:
            self._plateau_state, self.drops = checkpoint["plateau"]["schedule"], checkpoint["plateau"]["drops"]
            if self.plateau is not None:
                self.plateau.load_state_dict(self._plateau_state)

    # Helpers.

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters, with and without weight decay."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        if self.decay_norm_and_bias:
            return [{"params": trainable}]
        flat = [p for p in trainable if p.ndim < 2]
        return [{"params": [p for p in trainable if p.ndim >= 2]}, {"params": flat, "weight_decay": 0.0}]

    def _check_finite(self, outputs: dict[str, Tensor]) -> None:
        """Refuse to go on once the network answers no numbers; targets may hold NaN, which says not stated.

        Raises:
            RunError: as said.
        """
        for name, values in outputs.items():
            if name != "targets" and values.is_floating_point() and not bool(values.isfinite().all()):
                raise RunError(
                    f"validation {name} are NaN or infinite in epoch {self.current_epoch}: the training has diverged. "
                    "Lower the learning rate, clip gradients (trainer.gradient_clip_val), or use another trainer.precision "
                    f"than {self.trainer.precision}"
                )

    def over_devices(self, mean: Tensor, terms: Tensor) -> Tensor:
        """Scale a mean over this device's terms so that the devices' average is the mean over all their terms.

        Args:
            mean: scalar.
            terms: how many terms it is a mean over, scalar; they differ where some targets are unknown.
        """
        devices = device_count()
        if devices == 1:
            return mean
        own = terms.detach().to(mean.dtype)
        total = own.clone()
        torch.distributed.all_reduce(total)
        return mean * own * devices / total.clamp(min=1.0)

    def _gathered(self) -> list[Scored]:
        """Return the validation batches of all devices, in the order of one device, without those repeated."""
        if device_count() == 1:
            return self._seen
        parts: list[Any] = [None] * device_count()
        torch.distributed.all_gather_object(parts, self._seen)
        in_turn = [scored for turn in zip(*parts, strict=True) for scored in turn]
        return list({scored.first: scored for scored in in_turn}.values())


def _named(stage: str, out: StepOutput) -> dict[str, Tensor]:
    return {f"{stage}/loss": out.loss.detach()} | {f"{stage}/{k}": v.detach() for k, v in out.logs.items()}

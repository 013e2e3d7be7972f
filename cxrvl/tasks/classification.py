"""How does a network learn several labels per radiograph?"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from cxrvl.evaluation.statistics.auroc import auroc
from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.models.orthogonality import OrthogonalityCollector, Reduction, Scope
from cxrvl.tasks.base import Batch, StepOutput, Task, device_count


class Classification(Task):
    """Multi-label classification with an optional orthogonality term (ACM paper, section 3; loss of the release).

    Args:
        loss: callable (logits (B, L), targets (B, L)) -> scalar over the known labels.
        orthogonality: weight of the orthogonality term, lambda; 0 leaves it out of the loss, it is logged still.
        orthogonality_scope: all | last_stage, which modules count.
        orthogonality_reduction: abs_of_mean (release) | signed_sum (paper) | per_sample_abs.
        options: of `Task`.

    Validation logs `val/auroc`, the mean AUROC over the labels it is defined for, and how many those are.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[..., Any],
        scheduler: Callable[..., Any] | None = None,
        orthogonality: float = 0.1,
        orthogonality_scope: Scope = "all",
        orthogonality_reduction: Reduction = "abs_of_mean",
        monitor: str = "val/auroc",
        monitor_mode: str = "max",
        decay_norm_and_bias: bool = False,
        stop_after_drops: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, optimizer, scheduler, monitor=monitor, monitor_mode=monitor_mode,
            decay_norm_and_bias=decay_norm_and_bias, stop_after_drops=stop_after_drops, seed=seed,
        )  # fmt: skip
        self.loss = loss
        self.orthogonality = orthogonality
        self.collector = OrthogonalityCollector(model, orthogonality_scope, orthogonality_reduction)

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts: `encoder`, the network up to its feature map, and `head`, which belongs to the labels."""
        return {"encoder": "model.backbone.", "head": "model.head."}

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Compute loss and logits of one batch."""
        logits = self.model(batch["image"]).logits.float()
        loss = self.loss(logits, batch["target"])
        if stage == "train" and isinstance(self.loss, MultilabelLoss):
            loss = self.over_devices(loss, self.loss.terms(batch["target"]))
        logs = {}
        if self.collector.modules:
            term = self.collector(over_devices=stage == "train" and device_count() > 1)
            logs["orthogonality"] = term
            # The release adds the term while training only, so its validation loss is the task's alone.
            loss = loss + self.orthogonality * term if stage == "train" and self.orthogonality else loss
        outputs = {} if stage == "train" else {"logits": logits, "targets": batch["target"]}
        return StepOutput(loss, len(logits), logs, outputs)

    def validation_metrics(self, outputs: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean AUROC over the labels that have both classes, and their number."""
        return mean_auroc(outputs["logits"].float().numpy(), outputs["targets"].float().numpy())


def mean_auroc(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the mean AUROC over defined labels: logits, targets (N, L); uncertain and unstated are left out."""
    values: Sequence[float] = [
        auroc(logits[known, i], targets[known, i])
        for i in range(targets.shape[1])
        for known in [np.isin(targets[:, i], (0, 1))]
    ]
    defined = [v for v in values if not np.isnan(v)]
    return {"auroc": float(np.mean(defined)) if defined else float("nan"), "auroc_labels": float(len(defined))}

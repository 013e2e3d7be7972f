"""Do teacher and student still say something, and are the pseudo-labels right? Numbers to look at, never to learn from."""

import logging
import math

import torch
from torch import Tensor
from torch.nn import functional

log = logging.getLogger("cxrvl")

BINS = 512
SAME_FEATURES = 0.01
"""Spread of the student's directions below which all images look alike to it; 1 = spread over all directions."""
UNIFORM, CONSTANT = 0.999, 0.001
"""Shares of log K: a teacher above the first says nothing; one below the second on every image says one thing only."""
PATIENCE = 3


def spread(teacher: Tensor, centre: Tensor, temperature: float, embeddings: Tensor) -> dict[str, Tensor]:
    """Return what tells a collapse of self-distillation.

    Args:
        teacher: (N, K) outputs of the teacher's feature head, centre (1, K), temperature: as the loss uses them.
        embeddings: (M, D) of the student. Both are those of this device; their means over devices are logged.

    Returns:
        teacher_entropy: mean entropy of the teacher's distributions, in [0, log K]; log K = it says nothing.
        teacher_kl_uniform: of their mean from uniform, in [0, log K]; log K = all images get one and the same prototype.
        feature_std: spread of the directions of the embeddings, times sqrt(D), in [0, about 1]; 0 = all are alike.
    """
    chances = functional.softmax((teacher.detach().float() - centre.float()) / temperature, dim=-1)
    mean = chances.mean(dim=0)
    directions = functional.normalize(embeddings.detach().float(), dim=-1)
    return {
        "teacher_entropy": torch.special.entr(chances).sum(dim=-1).mean(),
        "teacher_kl_uniform": math.log(len(mean)) - torch.special.entr(mean).sum(),
        "feature_std": directions.std(dim=0, correction=0).mean() * directions.shape[1] ** 0.5,
    }


class CollapseWatch:
    """Warns once when `spread` has looked like a collapse several times running.

    Args:
        prototypes: K.
    """

    def __init__(self, prototypes: int) -> None:
        self.most = math.log(prototypes)
        self.suspicious, self.warned = 0, False

    def see(self, values: dict[str, Tensor], step: int) -> None:
        """Take one measurement."""
        sign = self.sign({name: float(value) for name, value in values.items()})
        self.suspicious = self.suspicious + 1 if sign else 0
        if self.suspicious >= PATIENCE and not self.warned:
            self.warned = True
            log.warning(
                "step %d: self-distillation is collapsing: %s. Try a lower teacher temperature (task.dino.teacher_temperature"
                "=0.02), fewer prototypes (model.feature_head.prototypes=4096), a lower teacher momentum, a smaller "
                "task.dino_weight, or a larger batch", step, sign,
            )  # fmt: skip

    def sign(self, values: dict[str, float]) -> str:
        """Return which sign of a collapse the measurement shows; empty for none."""
        entropy, distance, deviation = (values[k] for k in ("teacher_entropy", "teacher_kl_uniform", "feature_std"))
        if deviation < SAME_FEATURES:
            return f"all images have the same features (spread {deviation:.2g})"
        if entropy > UNIFORM * self.most:
            return f"the teacher's output is uniform (entropy {entropy:.4g} of at most {self.most:.4g})"
        if entropy < CONSTANT * self.most and distance > (1 - CONSTANT) * self.most:
            return (
                f"the teacher gives every image one prototype (distance from uniform {distance:.4g} of {self.most:.4g})"
            )
        return ""


class PseudoLabelWatch:
    """Compares pseudo-labels with labels that were withheld, over an epoch, in a histogram that a resume point can hold.

    Attributes:
        counts: (L, 2, BINS) int64: pseudo-labels by label, by what they should have been, by probability; None before any.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None

    def see(self, logits: Tensor, withheld: Tensor) -> None:
        """Count pseudo-labels (B, L), as logits, by what they should have been (B, L): 1, 0; anything else is not known."""
        if self.counts is None:
            self.counts = torch.zeros(logits.shape[1], 2, BINS, dtype=torch.int64, device=logits.device)
        bins = (logits.detach().float().sigmoid() * BINS).long().clamp(0, BINS - 1)
        known = (withheld == 0) | (withheld == 1)
        label = torch.arange(bins.shape[1], device=bins.device).expand_as(bins)
        place = (label * 2 + withheld.nan_to_num(0).clamp(0, 1).long()) * BINS + bins
        self.counts = self.counts.to(logits.device)
        self.counts.view(-1).index_add_(0, place.flatten(), known.flatten().long())

    def empty(self) -> None:
        """Begin anew."""
        self.counts = None

    def state(self) -> Tensor | None:
        """Return what a resume point keeps."""
        return None if self.counts is None else self.counts.cpu().clone()

    def load_state(self, state: Tensor | None) -> None:
        """Take up what a resume point kept."""
        self.counts = state

    @staticmethod
    def scores(counts: Tensor) -> dict[str, float]:
        """Return accuracy at 0.5 and AUROC (ties within a bin count half), means over the labels that have them.

        Args:
            counts: as the attribute, summed over devices.
        """
        counts = counts.cpu().double()
        total = counts.sum(dim=(1, 2))
        right = counts[:, 0, : BINS // 2].sum(dim=1) + counts[:, 1, BINS // 2 :].sum(dim=1)
        found = {}
        if bool((total > 0).any()):
            found["pseudo_label_accuracy"] = float((right / total)[total > 0].mean())
        negatives, positives = counts[:, 0], counts[:, 1]
        pairs = negatives.sum(dim=1) * positives.sum(dim=1)
        won = (positives * (negatives.cumsum(dim=1) - negatives / 2)).sum(dim=1)
        if bool((pairs > 0).any()):
            found["pseudo_label_auroc"] = float((won / pairs)[pairs > 0].mean())
        return found

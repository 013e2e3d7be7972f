"""What does a student learn from a teacher's opinion of images that nobody labelled?"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrvl.errors import ConfigError


class PseudoLabelTerm(NamedTuple):
    """loss: scalar mean over the entries that count; terms: how many those are, scalar; without any, both are 0."""

    loss: Tensor
    terms: Tensor


class PseudoLabelLoss(nn.Module):
    """Binary cross-entropy of student logits (B, L) against targets made from teacher logits (B, L).

    A subclass writes `targets`. No gradient reaches the teacher. Computed in float32 under autocast.
    """

    def targets(self, teacher: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return targets in [0, 1] and which entries count, both (B, L), of teacher logits (B, L); known as below."""
        raise NotImplementedError

    def observe_labels(self, targets: Tensor) -> None:
        """Take note of labels (B, L) of labelled images: 1, 0, -1 uncertain, NaN not stated."""

    def penalty(self, student: Tensor, targets: Tensor) -> Tensor:
        """Return the penalty of each entry (B, L)."""
        return functional.binary_cross_entropy_with_logits(student, targets, reduction="none")

    def forward(self, student: Tensor, teacher: Tensor, known: Tensor | None = None) -> PseudoLabelTerm:
        """Return the mean penalty and its number of terms.

        Args:
            student, teacher: logits (B, L) of the same images, in two views.
            known: (B, L) bool, False where an image's source says nothing of a label; such entries never count.

        Raises:
            ConfigError: shapes that differ.
        """
        if student.shape != teacher.shape:
            raise ConfigError(
                f"pseudo-labels: student logits {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}; "
                "expected the same images and labels"
            )
        student, teacher = _at_least_single(student), _at_least_single(teacher.detach())
        with torch.no_grad():
            targets, counts = self.targets(teacher, known)
            counts = counts if known is None else counts & known
        terms = torch.where(counts, self.penalty(student, targets.to(student.dtype)), 0.0)
        count = counts.sum()
        return PseudoLabelTerm(terms.sum() / count.clamp(min=1), count)


class SoftPseudoLabels(PseudoLabelLoss):
    """The target is the teacher's probability, of every image and label: DISTL's self-training (distl.md 1.3).

    temperature: divides the teacher's logits; 1 as released, below 1 sharpens. Raises ConfigError unless above 0.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"pseudo-labels: temperature={temperature}; expected a number above 0")
        self.temperature = temperature

    def targets(self, teacher: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the teacher's probabilities; all count."""
        return (teacher / self.temperature).sigmoid(), torch.ones_like(teacher, dtype=torch.bool)


class ProbabilityConsistency(SoftPseudoLabels):
    """The squared distance of the two probabilities: mean teacher (Tarvainen & Valpola 2017, arXiv:1703.01780)."""

    def penalty(self, student: Tensor, targets: Tensor) -> Tensor:
        """Return the squared distance of each entry (B, L)."""
        return (student.sigmoid() - targets).square()


class HardPseudoLabels(PseudoLabelLoss):
    """The target is the teacher's decision where it is sure: noisy student (Xie et al. 2020, arXiv:1911.04252).

    positive: probability from which an entry is taken as present; negative: up to which as absent; between the two it
    does not count. With both at 0.5, all count. Raises ConfigError unless 0 <= negative <= positive <= 1.
    """

    def __init__(self, positive: float = 0.5, negative: float = 0.5) -> None:
        super().__init__()
        if not 0 <= negative <= positive <= 1:
            raise ConfigError(
                f"pseudo-labels: positive={positive}, negative={negative}; expected 0 <= negative <= positive <= 1"
            )
        self.positive, self.negative = positive, negative

    def targets(self, teacher: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return decisions, and where they are sure."""
        probabilities = teacher.sigmoid()
        present = probabilities >= self.positive
        return present.to(teacher.dtype), present | (probabilities <= self.negative)


class AlignedPseudoLabels(HardPseudoLabels):
    """FixMatch with distribution alignment, for labels that are independent decisions.

    FixMatch (Sohn et al. 2020, arXiv:2001.07685) keeps what the weak view is sure of. Alignment (ReMixMatch, Berthelot
    et al. 2020, arXiv:1911.09785, section 3.1) multiplies each class's probability by prior / running mean and
    normalises; of the two outcomes of one label that is a shift of its logit by logit(prior) - logit(running mean).

    Priors are counted from the labels seen (`observe_labels`), running means from the teacher's logits of every call in
    training mode; both forget with `momentum` per call, are summed over all processes, and start at 1/2.
    Raises ConfigError for thresholds or a momentum outside their range.
    """

    labelled: Tensor
    predicted: Tensor

    def __init__(
        self,
        num_labels: int,
        positive: float = 0.95,
        negative: float = 0.05,
        momentum: float = 0.99,
        align: bool = True,
    ) -> None:
        super().__init__(positive, negative)
        if not 0 <= momentum < 1:
            raise ConfigError(f"pseudo-labels: momentum={momentum}; expected at least 0 and less than 1")
        self.momentum, self.align = momentum, align
        self.register_buffer("labelled", torch.zeros(2, num_labels))  # sum of positives, number of entries
        self.register_buffer("predicted", torch.zeros(2, num_labels))

    @torch.no_grad()
    def observe_labels(self, targets: Tensor) -> None:
        """Count the known labels (B, L)."""
        known = (targets == 0) | (targets == 1)
        self._count(self.labelled, torch.where(known, targets, 0.0), known)

    def targets(self, teacher: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return decisions of the aligned probabilities, and where they are sure; only known entries are counted."""
        if self.training:
            entries = torch.ones_like(teacher) if known is None else known.to(teacher.dtype)
            self._count(self.predicted, teacher.sigmoid() * entries, entries)
        return super().targets(teacher + self.shift().to(teacher.dtype) if self.align else teacher, known)

    def shift(self) -> Tensor:
        """Return what is added to each label's logits (L,)."""
        prior, mean = ((sums + 0.5) / (entries + 1) for sums, entries in (self.labelled, self.predicted))
        return prior.logit() - mean.logit()

    def _count(self, counted: Tensor, values: Tensor, entries: Tensor) -> None:
        new = torch.stack([values.sum(0), entries.sum(0)]).to(counted.dtype)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(new)
        counted.mul_(self.momentum).add_(new)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))

"""How do learning rate and weight decay move over a generation of the released DISTL?"""

from collections.abc import Sequence

from torch.optim import Optimizer

from cxrvl.errors import ConfigError
from cxrvl.tasks.teacher_schedules import released_cosine


class ReleasedSchedule:
    """Sets learning rate and weight decay by the number of the unlabelled step (distl.md section 2).

    A linear warm-up from a rate of 0, which the first step has, then a half cosine. Labelled steps of a correction learn
    at the rate of the unlabelled step before them; so the first correction learns at 0.

    Args:
        peak, final: learning rates.
        warmup_epochs: epochs of the warm-up; fewer than there are.
        weight_decay: at the start and at the end, of the parameters that are decayed at all; None leaves the optimiser's.

    Raises:
        ConfigError: a negative number.
    """

    def __init__(
        self,
        peak: float = 5e-5,
        final: float = 1e-6,
        warmup_epochs: int = 1,
        weight_decay: Sequence[float] | None = None,
    ) -> None:
        if min(peak, final, warmup_epochs, *(weight_decay or [0])) < 0 or len(weight_decay or (0, 0)) != 2:
            raise ConfigError(
                f"task.schedule: peak={peak}, final={final}, warmup_epochs={warmup_epochs}, weight_decay={weight_decay}; "
                "expected numbers of at least 0, and two of them for weight_decay"
            )
        self.peak, self.final, self.warmup_epochs = peak, final, warmup_epochs
        self.weight_decay = tuple(weight_decay) if weight_decay is not None else None

    def apply(self, optimizer: Optimizer, step: int, steps: int, total: int) -> None:
        """Set the values of a step: step of total, `steps` of them in an epoch.

        The group whose weight decay is 0 keeps it.
        """
        warmup = min(self.warmup_epochs * steps, total)
        rate = released_cosine(step, total, self.peak, self.final, warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
            if self.weight_decay is not None and group["weight_decay"]:
                start, end = self.weight_decay
                group["weight_decay"] = released_cosine(step, total, start, end)

"""Which views serve for what in self-training, and what is said of them?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.random import Draw
from cxrvl.errors import ConfigError


class Views(Protocol):
    """Draws views of stored images (B, 1, S, S): one (B, 1, h, w) float32 in [0, 1] for each of `names`."""

    names: list[str]

    def only(self, names: Iterable[str]) -> "Views":
        """Return a set of views that has the named ones."""
        ...

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return height and width of each view of stored images of this size."""
        ...

    def __call__(self, images: Tensor, draw: Draw) -> list[Tensor]: ...


class StudentAndTeacher(NamedTuple):
    """logits and teacher_logits (B, L) of one batch."""

    logits: Tensor
    teacher_logits: Tensor


def single(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@dataclass
class Seen:
    """What student and teacher said of one stream of a step.

    Attributes:
        images: B, how many.
        logits: (B, L) of the student; embeddings: (V*B, D) of the student.
        scores: (V*B, K) of the student and (T*B, K) of the teacher, for self-distillation.
        pseudo_labels: (B, L) as logits.
        known: (B, L) bool, which labels an image's data set states; None = all.
    """

    images: int
    logits: Tensor = field(default_factory=lambda: Tensor())
    embeddings: Tensor = field(default_factory=lambda: Tensor())
    scores: tuple[Tensor, Tensor] | None = None
    pseudo_labels: Tensor | None = None
    known: Tensor | None = None


@dataclass(frozen=True)
class Roles:
    """Which view of an image serves for what.

    pseudo_label: shown to whoever makes the pseudo-label. classes: the student is to name the labels in it.
    teacher: shown to the teacher in self-distillation, where the student sees all views.
    """

    pseudo_label: str
    classes: str
    teacher: tuple[str, ...]

    @classmethod
    def of(cls, roles: Mapping[str, Any], names: Sequence[str]) -> "Roles":
        """Return the roles a config names; ConfigError for a role or a view there is not."""
        if set(roles) != {"pseudo_label", "classes", "teacher"}:
            raise ConfigError(f"task.roles has the keys {sorted(roles)}; expected pseudo_label, classes and teacher")
        found = cls(roles["pseudo_label"], roles["classes"], tuple(roles["teacher"]))
        for view in (found.pseudo_label, found.classes, *found.teacher):
            if view not in names:
                raise ConfigError(f"task.roles: there is no view '{view}'{did_you_mean(view, names)}")
        if len(set(found.teacher)) < len(found.teacher):
            raise ConfigError(
                f"task.roles.teacher is {list(found.teacher)}: a view is named twice, and would count twice; name each once"
            )
        return found

"""What may an evaluator ask of the network besides its answer to the images themselves?"""

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from torch import nn

    from cxrvl.data.rows import LabelledRows

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """The network under evaluation, in evaluation mode and without gradients.

    Attributes:
        predict: gives the task's output for a changed batch on the batch's device, in the run's precision.
        task: the task itself, for what is not part of its output.
        precision: context in which a direct call of the model rounds as the run does.
        answers: what has been asked besides the images of this batch, and the answer, for evaluators that ask the same.
    """

    predict: Callable[[dict[str, Any]], Any]
    task: "nn.Module"
    precision: Callable[[], AbstractContextManager[Any]]
    answers: dict[Hashable, Any] = field(default_factory=dict)


@runtime_checkable
class Probing(Protocol):
    """An evaluator that asks more of the network than one output per image."""

    def probe(self, batch: Batch, output: Any, network: Network, table: "LabelledRows") -> pd.DataFrame:
        """Return the rows of a batch; `batch` and `output` (the task's answer to it) lie on the network's device."""
        ...


@runtime_checkable
class Selective(Protocol):
    """An evaluator that scores a part of its splits' images, such as those with boxes."""

    def scored(self, table: "LabelledRows") -> np.ndarray:
        """Return the study-table rows (n,) int64 that are scored; DataError if there is none."""
        ...

"""Which images count for one label, and what as? Known targets, patients as numbers, None for what is undefined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import ConfigError
from cxrvl.evaluation.predictions import patients

UNCERTAIN_POLICIES = ("ignore", "zeros", "ones")


@dataclass(frozen=True)
class LabelScores:
    """The images of one label whose target is known: all arrays (n,)."""

    logits: NDArray[np.float32]
    targets: NDArray[np.float32]
    """1 or 0"""
    patients: NDArray[np.int64]


def known_targets(targets: NDArray[np.float32], uncertain: str) -> NDArray[np.float32]:
    """Targets as 1, 0 and NaN (not used): uncertain ones (-1) as the policy says.

    Args:
        targets: any shape, 1, 0, -1, NaN.
        uncertain: "ignore" (NaN), "zeros" or "ones".
    """
    value = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}[uncertain]
    return np.where(targets == -1, np.float32(value), targets).astype(np.float32)


def patient_numbers(frame: pd.DataFrame) -> tuple[NDArray[np.int64], int]:
    """The patient of each row as a number from 0, in order of name, and how many patients there are."""
    numbers, names = pd.factorize(patients(frame), sort=True)
    return numbers.astype(np.int64), len(names)


def label_scores(frame: pd.DataFrame, label: str, numbers: NDArray[np.int64], uncertain: str) -> LabelScores:
    """The images of a findings frame that count for one label.

    Args:
        numbers: (n,) patient number of each row, from `patient_numbers`.
    """
    targets = known_targets(frame[f"target/{label}"].to_numpy(dtype=np.float32), uncertain)
    known = ~np.isnan(targets)
    logits = frame[f"logit/{label}"].to_numpy(dtype=np.float32)
    return LabelScores(logits[known], targets[known], numbers[known])


def check_groups(groups: Mapping[str, Sequence[str]], labels: Sequence[str]) -> None:
    """Every label of every group exists.

    Raises:
        ConfigError: naming group and label.
    """
    for name, members in groups.items():
        unknown = [label for label in members if label not in labels]
        if unknown or not members:
            what = f"names {unknown}" if unknown else "is empty"
            raise ConfigError(f"evaluation group {name!r} {what}; the predictions have the labels {list(labels)}")


def jsonable(value: Any) -> Any:
    """The same nested value in plain types, with None for NaN and infinities, which JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value

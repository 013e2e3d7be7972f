"""How far do two reports agree on the patient? By the findings a labeler sees in them, or by published clinical scores."""

import importlib.util
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.labeler import OBSERVATIONS, Labeler
from cxrvl.errors import ConfigError

REFERENCES = ("labels", "radgraph", "chexbert", "green")
_RADEVAL = {"radgraph": "radgraph", "chexbert": "f1chexbert", "green": "green"}
"""Reference -> its name in the package radeval."""
_FINDINGS = tuple(name for name in OBSERVATIONS if name != "No Finding")


def check_reference(name: str) -> None:
    """Refuse an unknown reference, or one whose package is missing; ConfigError says what to install."""
    if name not in REFERENCES:
        raise ConfigError(f"evaluation references: there is no '{name}'{did_you_mean(name, REFERENCES)}")
    if name in _RADEVAL and importlib.util.find_spec("RadEval") is None:
        raise ConfigError(
            f"evaluation references: {name} needs the package radeval, which is not installed: pip install "
            "'cxrvl[clinical]', and its weights from the hub; or use labels"
        )


def agreements(name: str, first: Sequence[str] | pd.Series, second: Sequence[str] | pd.Series) -> NDArray[np.float32]:
    """Return how far the texts of each pair agree, (n,) float32 in [0, 1]."""
    if name == "labels":
        return label_agreement(list(first), list(second))
    from RadEval import RadEval

    scorer = RadEval(metrics=[_RADEVAL[name]], per_sample=True)
    scores = scorer(refs=list(first), hyps=list(second))
    (values,) = [value for value in scores.values() if np.ndim(value) == 1 and len(value) == len(first)]
    return np.asarray(values, dtype=np.float32)


def label_agreement(first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
    """Overlap (Dice) of the findings that two texts claim or suspect by the rule labeler; 1 where neither has any."""
    labeler, found = Labeler("chexpert"), {}
    for text in dict.fromkeys([*first, *second]):
        said = labeler.label(text)
        found[text] = np.array([said[name] in (1.0, -1.0) for name in _FINDINGS])
    one, other = np.stack([found[text] for text in first]), np.stack([found[text] for text in second])
    total = one.sum(axis=1) + other.sum(axis=1)
    shared = 2 * (one & other).sum(axis=1) / np.maximum(total, 1)
    return np.where(total == 0, 1.0, shared).astype(np.float32)

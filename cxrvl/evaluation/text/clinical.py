"""How far do two reports agree on the patient? By the findings a labeler sees in them, or by published clinical scores."""

import importlib.util
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.labeler import OBSERVATIONS, Labeler
from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.predictions import PUBLISHED_SCORES

REFERENCES = ("labels", "radgraph", "chexbert", "green")
_RADEVAL = {
    "bleu": ("bleu", "bleu"), "rouge": ("rouge", "rougeL"), "bertscore": ("bertscore", "bertscore"),
    "chexbert": ("f1chexbert", "f1chexbert_sample_acc_all"), "radgraph": ("radgraph", "radgraph_partial"),
    "ratescore": ("ratescore", "ratescore"), "green": ("green", "green"),
}  # fmt: skip
"""Score -> its metric in the package radeval, and the name of what that gives per report: BLEU-4, ROUGE-L, BERTScore's F1,
whether all 14 findings agree by CheXbert, partial RadGraph F1, RaTEScore, GREEN."""
_FINDINGS = tuple(name for name in OBSERVATIONS if name != "No Finding")


def check_reference(name: str) -> None:
    """Refuse an unknown reference, or one whose package is missing; ConfigError says what to install."""
    if name not in REFERENCES:
        raise ConfigError(f"evaluation references: there is no '{name}'{did_you_mean(name, REFERENCES)}")
    if name != "labels":
        check_published(name, "references", "labels")


def check_published(name: str, option: str, instead: str) -> None:
    """Refuse an unknown published score, or any without its package; ConfigError says what to install, or do instead."""
    if name not in PUBLISHED_SCORES:
        raise ConfigError(f"evaluation {option}: there is no '{name}'{did_you_mean(name, PUBLISHED_SCORES)}")
    if importlib.util.find_spec("radeval") is None:
        raise ConfigError(
            f"evaluation {option}: {name} needs the package radeval, which is not installed: pip install "
            f"'cxrvl[clinical]', and its weights from the hub; or use {instead}"
        )


def agreements(name: str, first: Sequence[str] | pd.Series, second: Sequence[str] | pd.Series) -> NDArray[np.float32]:
    """Return how far the texts of each pair agree, (n,) float32 in [0, 1]."""
    return label_agreement(list(first), list(second)) if name == "labels" else published(name, first, second)


def published(
    name: str, references: Sequence[str] | pd.Series, others: Sequence[str] | pd.Series
) -> NDArray[np.float32]:
    """Score texts (n,) against references (n,) by the package radeval, (n,) float32.

    Raises:
        RunError: the package gives something else than one number per text under the name expected.
    """
    from radeval import RadEval

    metric, key = _RADEVAL[name]
    scores = RadEval(metrics=[metric], per_sample=True)(refs=list(references), hyps=list(others))
    values = np.asarray(scores.get(key, ()), dtype=np.float32)
    if values.shape != (len(references),):
        raise RunError(
            f"{name}: radeval gave {', '.join(map(str, scores)) or 'nothing'}, expected {key!r} with {len(references)} "
            "numbers; is it another version than 2.2?"
        )
    return values


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

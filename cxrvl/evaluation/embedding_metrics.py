"""How are two kinds of vectors spread over the space they share? Nearness of pairs, spread of each, gap between both."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.evaluation.labels import jsonable, patient_numbers
from cxrvl.evaluation.predictions import VECTOR, Predictions
from cxrvl.evaluation.statistics.bootstrap import percentile_interval, replicate
from cxrvl.evaluation.text_metrics import TextOptions, WeightedMean

IMAGE, REPORT = "image", "report"
_PAIRS = 200_000


def vector_columns(width: int) -> list[str]:
    """Names of the columns of a vector."""
    return [f"{VECTOR}{number}" for number in range(width)]


def vectors_of(frame: pd.DataFrame, which: str) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The rows of kind `image` or `report`, and their vectors (n, D)."""
    rows = frame[frame["label"] == which].reset_index(drop=True)
    width = sum(name.startswith(VECTOR) for name in frame.columns)
    return rows, rows[vector_columns(width)].to_numpy(dtype=np.float32)


def embedding_metrics(predictions: Predictions, options: TextOptions) -> dict[str, Any]:
    """Say how the vectors of one split lie.

    `own_similarity`: mean dot product of an image and its own report, with the interval of the bootstrap over patients, and
    `other_similarity`, of two drawn at random; `gap`: distance between the means of both kinds (Liang et al. 2022);
    `uniformity`: log of the mean Gaussian of pairwise distances of each kind, the lower the more evenly spread (Wang and
    Isola 2020), over at most 200,000 drawn pairs.
    """
    frame = predictions.of_split(options.score_split)
    images, at = vectors_of(frame, IMAGE)
    reports, said = vectors_of(frame, REPORT)
    place = {study: number for number, study in enumerate(zip(reports["dataset"], reports["study"], strict=True))}
    own = np.array([place[study] for study in zip(images["dataset"], images["study"], strict=True)])
    near = np.einsum("nd,nd->n", at, said[own]).astype(np.float64)
    numbers, count = patient_numbers(images)
    mean = WeightedMean(near, numbers, count)
    drawn = replicate(count, {"own": mean}, options.bootstrap, options.seed)["own"]
    interval = percentile_interval(float(near.mean()), drawn, options.confidence)
    rng = np.random.default_rng(options.seed)
    first, second = rng.integers(0, len(at), _PAIRS), rng.integers(0, len(said), _PAIRS)
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "complete": predictions.complete,
            "images": len(images),
            "reports": len(reports),
            "patients": count,
            "dimensions": at.shape[1],
            "own_similarity": interval.estimate,
            "own_similarity_low": interval.low,
            "own_similarity_high": interval.high,
            "other_similarity": float(np.einsum("nd,nd->n", at[first], said[second])[own[first] != second].mean()),
            "gap": float(np.linalg.norm(at.mean(axis=0) - said.mean(axis=0))),
            "uniformity": {IMAGE: _uniformity(at, rng), REPORT: _uniformity(said, rng)},
        }
    )
    return result


def _uniformity(vectors: NDArray[np.float32], rng: np.random.Generator) -> float:
    """Log of the mean of exp(-2 d²) over drawn pairs of different rows; NaN for a single one."""
    count = len(vectors)
    if count < 2:
        return float("nan")
    first = rng.integers(0, count, min(_PAIRS, count * count))
    second = (first + rng.integers(1, count, len(first))) % count
    squared = ((vectors[first].astype(np.float64) - vectors[second]) ** 2).sum(axis=1)
    return float(np.log(np.exp(-2 * squared).mean()))

"""What does a prediction file hold, and is this one whole? One Parquet file per evaluation: the result itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import expit

from cxrvl.errors import DataError
from cxrvl.files import write_atomic

IMAGE_COLUMNS = ("dataset", "image", "patient", "study", "split")
MARK_TEXT, MARK_NUMBERS = ("label", "entry"), ("rating", "x", "y", "x0", "y0", "x1", "y1", "target")
KEYS = {
    "findings": ("dataset", "image"),
    "marks": ("dataset", "image", "label", "entry", "number"),
    "robustness": ("dataset", "image", "corruption", "severity"),
    "attention": ("dataset", "image", "label", "head"),
    "ranks": ("dataset", "image", "label"),
    "choices": ("dataset", "image", "label"),
    "pairs": ("dataset", "image", "label", "other"),
    "precision": ("dataset", "image", "label"),
    "reports": ("dataset", "image"),
    "embeddings": ("dataset", "image", "label"),
}
PER_LABEL = ("findings", "robustness")
"""Kinds with `target/<label>` and `logit/<label>` in every row."""
CONDITION = {"corruption": object, "severity": np.int64}
ATTENTION = {"label": object, "head": np.int64, "in_box": np.float32, "chance": np.float32, "entropy": np.float32}
PRECISIONS = (1, 5, 10, 100)
"""How many nearest documents are looked at in label-level retrieval."""
TEXTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ranks": (
        ("label", "text"), ("better", "tied", "better_unique", "tied_unique", "copies", "pool", "pool_unique"),
    ),
    "choices": (("label", "text"), ("true", "wrong_1", "wrong_2", "wrong_3")),
    "pairs": (("label", "other", "other_patient", "other_dataset"), ("cosine", "agreement")),
    "precision": (("label", "text"), (*(f"hits_{k}" for k in PRECISIONS), "of_class", "pool")),
}  # fmt: skip
"""Kinds made of texts -> their columns of words and of numbers; `image` is the study, `label` the task."""
NEAREST = 5
RETRIEVED: Mapping[str, Any] = {
    **dict.fromkeys(("better_diagonal", "tied_diagonal", "own"), np.float32),
    **dict.fromkeys((f"found_{number + 1}" for number in range(NEAREST)), object),
    **dict.fromkeys((f"near_{number + 1}" for number in range(NEAREST)), np.float32),
}
"""Further columns of kind "ranks", all or none of them: ranks among documents of which a study has several, similarity to
the own one, names and similarities of the nearest (fewer in a smaller pool). Reports found by reports lack them."""
OWN_TIED = "own_tied"
"""A further column of kind "ranks": how many documents of the own text lie as near as the nearest of them; files of old
lack it."""
VECTOR = "v/"
"""How the columns of a vector begin, in kind "embeddings"; its number follows."""
PUBLISHED_SCORES = ("bleu", "rouge", "bertscore", "chexbert", "radgraph", "ratescore", "green")
REPORTS: tuple[dict[str, Any], dict[str, Any]] = (
    {"text": object, "found": object, "near": np.float32, "pool": np.float32},
    {f"score/{name}": np.float32 for name in PUBLISHED_SCORES},
)
"""Columns of kind "reports": those always there, and scores of which any may be, besides `target/<label>` and
`found/<label>`."""
_METADATA = b"cxrvl"


def to_numpy(values: Any) -> NDArray[np.float32]:
    """A CPU tensor (of any floating type, with or without gradient) or an array as float32 numpy."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float32)


def probabilities(logits: Any) -> NDArray[np.float64]:
    """Probability of each finding: the logistic function of its logit.

    The one place where logits become probabilities, for metrics and for `cxrvl predict`. Computed in float64 of the
    float32 logit, which is what the file stores, so that both give the same number.

    Args:
        logits: array or tensor of any shape.

    Returns:
        float64 in [0, 1], same shape.
    """
    return np.asarray(expit(to_numpy(logits).astype(np.float64)))


@dataclass(frozen=True)
class Predictions:
    """Scored images of one evaluation, checked: keys unique, columns of the named kind, as many images as it claims.

    kind "findings": one row per image with `target/<label>` (1, 0, -1, NaN) and `logit/<label>`, float32.
    kind "marks": one row per mark or lesion; see `cxrvl.evaluation.localization`.
    kind "robustness": one row per image and condition (`corruption`, `severity`), else as findings; see
    `cxrvl.evaluation.robustness`.
    kind "attention": one row per image, label with a box, and head; see `cxrvl.evaluation.cls_attention`.
    kinds "ranks", "choices", "pairs": one row per report (or pair of reports) and task; see `cxrvl.evaluation.text`;
    "ranks" with the columns `RETRIEVED`: one per image or report and task, see `cxrvl.evaluation.dual.retrieval`.
    kind "embeddings": one row per image, and per report; see `cxrvl.evaluation.dual.embeddings`.
    kind "precision": one row per image of one class; see `cxrvl.evaluation.dual.class_retrieval`.
    kind "reports": one row per image and the report it found; see `cxrvl.evaluation.dual.report_scores`.
    """

    frame: pd.DataFrame
    kind: str
    labels: tuple[str, ...]
    folds: Mapping[str, int]
    """images per split that the study table has, all of them scored (or those scored, if not complete)"""
    split_name: str
    """which way of splitting, such as "official"; never compare across them"""
    complete: bool = True
    """False: a deliberately cut evaluation (debugging), not a result"""
    info: Mapping[str, Any] = field(default_factory=dict)
    """anything else worth keeping with the file, JSON-able"""

    @classmethod
    def build(
        cls,
        frame: pd.DataFrame,
        *,
        kind: str,
        labels: Sequence[str],
        folds: Mapping[str, int],
        split_name: str,
        complete: bool = True,
        info: Mapping[str, Any] | None = None,
        origin: str = "predictions",
    ) -> "Predictions":
        """Check rows and bring them into the order and types of their kind.

        Args:
            origin: the file (or what the rows are), for messages.

        Raises:
            DataError: unknown kind, missing or unknown columns, a repeated key, a logit that is no number, a target
                outside {1, 0, -1, NaN}, a fold that misses images or has too many.
        """
        columns = _columns(kind, labels, origin)
        columns |= _further(kind, [str(name) for name in frame.columns])
        missing = [name for name in columns if name not in frame.columns]
        unknown = [str(name) for name in frame.columns if name not in columns]
        if missing or unknown:
            raise DataError(
                f"{origin}: not predictions of kind {kind!r} for {len(labels)} labels: missing columns "
                f"{missing or 'none'}, unknown columns {unknown or 'none'}; evaluate the run again"
            )
        keys = list(KEYS[kind])
        tidy = pd.DataFrame({name: frame[name].to_numpy(dtype=dtype) for name, dtype in columns.items()})
        repeated = tidy.duplicated(keys)
        if repeated.any():
            key = tuple(tidy.loc[repeated, keys].iloc[0])
            raise DataError(
                f"{origin}: {int(repeated.sum())} repeated rows, the first with {tuple(keys)} = {key}; each may be "
                "scored once: merge the parts of several processes with collect()"
            )
        _check_values(tidy, kind, labels, origin)
        scored = tidy.drop_duplicates(["dataset", "image"])["split"].value_counts().to_dict()
        if scored != {name: count for name, count in folds.items() if count}:
            raise DataError(
                f"{origin}: images scored per split {scored}, expected {dict(folds)}: images are missing or scored "
                "too often; delete this file and evaluate the run again"
            )
        tidy = tidy.sort_values(keys, kind="stable", ignore_index=True)
        return cls(tidy, kind, tuple(labels), dict(folds), split_name, complete, dict(info or {}))

    def of_split(self, split: str) -> pd.DataFrame:
        """The rows of one split.

        Raises:
            DataError: the split was not scored.
        """
        rows = self.frame[self.frame["split"] == split]
        if rows.empty:
            raise DataError(f"these predictions hold no image of split {split!r}; scored splits: {sorted(self.folds)}")
        return rows.reset_index(drop=True)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a Parquet file atomically: a reader sees the old file, none, or the whole new one.

    Raises:
        OSError: the disk is full, the folder may not be written; nothing is left behind.
    """
    head: dict[str, Any] = {"kind": predictions.kind, "labels": list(predictions.labels)}
    head |= {"folds": dict(predictions.folds)}
    head |= {"split_name": predictions.split_name, "complete": predictions.complete, "info": dict(predictions.info)}
    frame = predictions.frame
    table = pa.Table.from_pandas(frame, schema=_schema(frame), preserve_index=False)
    table = table.replace_schema_metadata({_METADATA: json.dumps(head, sort_keys=True).encode()})
    write_atomic(Path(path), lambda file: pq.write_table(table, file, compression="zstd"))


def read_predictions(path: Path, kind: str | None = None) -> Predictions:
    """Read and check a file written by `write_predictions`.

    Args:
        kind: the kind expected, any if absent.

    Raises:
        DataError: no such file, no Parquet, no predictions, another kind, or what `Predictions.build` refuses.
    """
    path = Path(path)
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such predictions; evaluate the run first") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}); delete it and evaluate again") from error
    metadata = table.schema.metadata or {}
    if _METADATA not in metadata:
        raise DataError(f"{path}: a Parquet file, but not written by cxrvl (no metadata key 'cxrvl')")
    head = json.loads(metadata[_METADATA])
    if kind is not None and head["kind"] != kind:
        raise DataError(f"{path}: holds predictions of kind {head['kind']!r}, expected {kind!r}")
    return Predictions.build(table.to_pandas(), origin=str(path), **head)


def patients(frame: pd.DataFrame) -> pd.Series:
    """Which patient each row belongs to; a name is one patient within one data set."""
    return frame["dataset"].astype(str) + "\x1f" + frame["patient"].astype(str)


def _columns(kind: str, labels: Sequence[str], origin: str) -> dict[str, Any]:
    text: dict[str, Any] = dict.fromkeys(IMAGE_COLUMNS, object)
    if kind in PER_LABEL:
        names = [f"{side}/{label}" for side in ("target", "logit") for label in labels]
        return text | (CONDITION if kind == "robustness" else {}) | dict.fromkeys(names, np.float32)
    if kind == "attention":
        return text | ATTENTION
    if kind == "embeddings":
        return text | {"label": object, "text": object}
    if kind == "reports":
        names = [f"{side}/{label}" for side in ("target", "found") for label in labels]
        return text | REPORTS[0] | dict.fromkeys(names, np.float32)
    if kind in TEXTS:
        named, counted = TEXTS[kind]
        return text | dict.fromkeys(named, object) | dict.fromkeys(counted, np.float32)
    if kind == "marks":
        return text | dict.fromkeys(MARK_TEXT, object) | {"number": np.int64} | dict.fromkeys(MARK_NUMBERS, np.float32)
    raise DataError(f"{origin}: unknown kind of predictions {kind!r}; expected one of {sorted(KEYS)}")


def _further(kind: str, there: Sequence[str]) -> dict[str, Any]:
    """Columns that some files of a kind have: those of a retrieval, scores that were asked for, a vector's."""
    if kind == "ranks":
        named = dict(RETRIEVED) if set(RETRIEVED) & set(there) else {}
        return named | ({OWN_TIED: np.float32} if OWN_TIED in there else {})
    if kind == "reports":
        return {name: dtype for name, dtype in REPORTS[1].items() if name in there}
    if kind == "embeddings":
        return {f"{VECTOR}{place}": np.float32 for place in range(sum(name.startswith(VECTOR) for name in there))}
    return {}


def _check_values(frame: pd.DataFrame, kind: str, labels: Sequence[str], origin: str) -> None:
    numbers, rows = [f"logit/{label}" for label in labels], frame
    targets = [f"target/{label}" for label in labels]
    if kind == "marks":
        targets = ["target"]
        strange = ~frame["entry"].isin(["mark", "lesion"]) | ~frame["label"].isin(list(labels))
        if strange.any():
            row = frame[strange].iloc[0]
            raise DataError(f"{origin}: image {row['image']}: entry {row['entry']!r} of label {row['label']!r}")
        numbers, rows = ["rating"], frame[frame["entry"] == "mark"]
    elif kind == "reports":
        targets += [f"found/{label}" for label in labels]
        numbers = ["near", *(name for name in frame.columns if name.startswith("score/"))]
    elif kind in ("attention", "embeddings", *TEXTS):
        targets, numbers = [], list(TEXTS[kind][1]) if kind in TEXTS else ["in_box", "chance", "entropy"]
        if kind == "embeddings":
            numbers = [name for name in frame.columns if name.startswith(VECTOR)]
        strange = ~frame["label"].isin(list(labels))
        if strange.any():
            row = frame[strange].iloc[0]
            raise DataError(
                f"{origin}: image {row['image']}: a row of {row['label']!r}, which is not among its labels {list(labels)}"
            )
    wrong = ~(frame[targets].isin([1, 0, -1]) | frame[targets].isna())
    for name in wrong.columns[wrong.any()]:
        row = frame[wrong[name]].iloc[0]
        raise DataError(f"{origin}: image {row['image']}: {name} is {row[name]}, expected 1, 0, -1 or missing")
    broken = ~rows[numbers].apply(np.isfinite)
    for name in broken.columns[broken.any()]:
        row = rows[broken[name]].iloc[0]
        raise DataError(
            f"{origin}: image {row['image']}: {name} is {row[name]}, not a finite number: the model has diverged or "
            f"overflows in this precision ({int(broken[name].sum())} images)"
        )


def _schema(frame: pd.DataFrame) -> pa.Schema:
    types = {np.dtype(np.float32): pa.float32(), np.dtype(np.int64): pa.int64()}
    return pa.schema([(name, types.get(frame[name].to_numpy().dtype, pa.string())) for name in frame.columns])

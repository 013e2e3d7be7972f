"""Are the rows of all processes together exactly the images of the study table? Merging the parts of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.errors import RunError
from cxrvl.evaluation.predictions import KEYS, Predictions

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

IMAGE = ["dataset", "image"]


def merge(kind: str, parts: Sequence[pd.DataFrame], *, tolerance: float = 0.02) -> pd.DataFrame:
    """Rows of all processes without the images that distributed samplers repeat to fill the last batch.

    A repeated image keeps the rows of the first process that scored it. The others must agree: same targets and
    lesions, same logits (of marks: same highest rating) within the tolerance, which leaves room for kernels that round
    differently with batch size in half precision, not for other weights or another image.

    Args:
        kind: "findings" or "marks".
        parts: one frame per process (rank order) or per batch.
        tolerance: allowed |a - b| / max(1, |a|).

    Raises:
        RunError: no rows at all, or repeated images that disagree.
    """
    filled = [part for part in parts if len(part)]
    if not filled:
        raise RunError("the evaluation scored no image: its splits are empty or no batch reached the evaluator")
    keys = list(KEYS[kind])
    rows = pd.concat([part.assign(_part=number) for number, part in enumerate(filled)], ignore_index=True)
    once = rows.drop_duplicates([*keys, "_part"])
    first = once.groupby(IMAGE, sort=False)["_part"].transform("min")
    kept, repeated = once[once["_part"] == first], once[once["_part"] != first]
    repeated = pd.concat([repeated, rows.drop(index=once.index)])
    if kind == "marks":  # lower marks may swap places by rounding; the highest and the lesions may not
        repeated = repeated[(repeated["entry"] == "lesion") | (repeated["number"] == 0)]
    if len(repeated):
        _check_agreement(kept, repeated, keys, tolerance)
    return kept.drop(columns="_part").reset_index(drop=True)


def collect(
    kind: str,
    parts: Sequence[pd.DataFrame],
    table: "StudyTable",
    splits: Sequence[str],
    *,
    info: Mapping[str, Any] | None = None,
    partial: bool = False,
    rows: np.ndarray | None = None,
) -> Predictions:
    """All parts of an evaluation as whole predictions: every image of the splits once, none else.

    Args:
        parts: frames from `evaluator.rows`, of all batches and processes.
        splits: the splits evaluated.
        partial: True accepts that images are missing (a debugging run with limited batches) and says so in the file.
        rows: the table rows (n,) of the splits that are scored; None = all of them.

    Raises:
        RunError: images of the splits were not scored, or others were, or repeated ones disagree.
    """
    merged = merge(kind, parts)
    wanted = table.frame.iloc[np.concatenate([table.split(name) for name in splits]) if rows is None else rows]
    expected, scored = (pd.MultiIndex.from_frame(frame[IMAGE].drop_duplicates()) for frame in (wanted, merged))
    missing, foreign = expected.difference(scored), scored.difference(expected)
    if len(foreign) or (len(missing) and not partial):
        example = "/".join(map(str, (foreign if len(foreign) else missing)[0]))
        raise RunError(
            f"the evaluation of {', '.join(splits)} scored {len(scored)} images, the study table has {len(expected)}: "
            f"{len(missing)} missing, {len(foreign)} that do not belong there, such as {example}; a loader that drops "
            "its last batch or limits batches cannot evaluate"
        )
    if len(missing):
        wanted = wanted[pd.MultiIndex.from_frame(wanted[IMAGE]).isin(scored)]
    folds = {name: int((wanted["split"] == name).sum()) for name in splits}
    return Predictions.build(
        merged, kind=kind, labels=table.labels, folds=folds, split_name=table.split_name, complete=not len(missing),
        info={"split_sha256": table.split_sha256, **(info or {})}, origin="evaluation",
    )  # fmt: skip


def image_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """The columns that say which image a row is about, from rows of a study table; what is not known is empty text."""
    names = ("dataset", "image", "patient", "study", "split")
    return {name: frame[name].astype(object).where(frame[name].notna(), "").astype(str).to_numpy() for name in names}


def _check_agreement(kept: pd.DataFrame, repeated: pd.DataFrame, keys: list[str], tolerance: float) -> None:
    pairs = repeated.merge(kept, on=keys, how="left", suffixes=("_again", ""), indicator=True)
    lost = pairs[pairs["_merge"] != "both"]
    if len(lost):
        raise RunError(f"image {lost.iloc[0]['image']} was scored twice with different labels or lesions")
    for name in kept.columns.difference([*keys, "_part"]):
        again, first = pairs[f"{name}_again"], pairs[name]
        same = (again == first) | (again.isna() & first.isna())
        if name.startswith("logit/") or name in ("rating", "in_box", "entropy"):
            same |= (again - first).abs() <= tolerance * first.abs().clip(lower=1.0)
        elif name in ("x", "y", "x0", "y0", "x1", "y1"):
            same |= pairs["entry"] == "mark"
        if not same.all():
            row = pairs[~same].iloc[0]
            raise RunError(
                f"image {row['image']} was scored twice and {name} differs: {row[name]} and {row[f'{name}_again']}; "
                "the processes do not hold the same weights or data"
            )

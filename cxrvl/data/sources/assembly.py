"""How do a set's own columns become a study table? Labels mapped and chosen, views and files kept, a split drawn, all checked."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from cxrvl.data.labels import map_labels
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.choices import keep_files, keep_views, pick_labels
from cxrvl.data.sources.split_option import RowSplit, SplitOption, split_rows
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

BY_PATIENT: SplitOption = {
    "by": "patient",
    "fractions": {"train": 0.7, "val": 0.1, "test": 0.2},
    "seed": 0,
    "stratify": True,
}
"""The split of a data set that has no usable published one."""


def assemble(
    source: FileSource,
    frame: pd.DataFrame,
    written: pd.DataFrame,
    label_map: Mapping[str, str | None] | None,
    *,
    origin: str,
    split: SplitOption | RowSplit | None = None,
    labels: Sequence[str] | None = None,
    views: Sequence[str] | None = None,
    subset: bool = False,
    notes: Iterable[str] = (),
) -> StudyTable:
    """Take the last steps that sources without a published split have in common.

    frame: N rows with `image`, `patient` and whatever further columns of the study table the set has; written: (N, K)
    label values 1, 0, -1, NaN under the set's own names; both indexed by the 0-based data rows of `origin`.
    label_map: own name -> name in the joint vocabulary, None = left out; without a map the own names are the labels.
    split: an option, see `split_rows`, a split already known, or None = `BY_PATIENT`.
    labels, views, subset: see `cxrvl.data.sources.choices`.
    Raises DataError for every fault of the helpers and of `StudyTable.build`, naming origin and row.
    """
    if frame.empty:
        raise DataError(f"{origin}: the table has no rows; check data.root, and the file for an interrupted download")
    mapped = written if label_map is None else map_labels(written, label_map, origin)
    values = pick_labels(mapped, labels, source.name)
    names = tuple(values.columns)
    frame = pd.concat([frame.assign(dataset=source.name), values], axis=1)
    if isinstance(split, RowSplit):
        frame["split"] = split.split
    frame, absent = keep_files(keep_views(frame, views, origin), source.root, origin, subset)
    if not isinstance(split, RowSplit):
        split = split_rows(source, frame, names, BY_PATIENT if split is None else split, origin)
        frame["split"] = split.split
    return StudyTable.build(
        frame,
        names,
        split_name=split.name,
        root=source.root,
        origin=origin,
        split_lists=split.lists,
        notes=(*notes, *absent),
    )


def recode(values: pd.Series, known: Mapping[str, str], origin: str) -> pd.Series:
    """Translate a column of few values, such as sex, NaN staying NaN; DataError naming the row of any other value."""
    text = values.str.strip()
    unknown = text.notna() & (text != "") & ~text.isin(list(known))
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise DataError(
            f"{origin}, row {int(values.index[row]) + 1}, column {values.name!r}: found {text.iloc[row]!r}, "
            f"expected one of {', '.join(known)} or an empty field ({int(unknown.sum())} such rows)"
        )
    return text.map(dict(known))

"""Which labels and rows of a study table does an experiment use?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from cxrvl.data.reports.table import ReportTable
from cxrvl.data.resplit import resplit
from cxrvl.data.spoil import Noise, with_label_noise, with_unseen
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

Table = TypeVar("Table", StudyTable, ReportTable)

SELECTION_KEYS = (
    "labels", "limit", "split_file", "fold", "folds", "label_fraction", "unlabelled_folds", "split_seed",
    "label_noise", "unseen", "labels_of_folds",
)  # fmt: skip
"""Keys of a data config that `select` takes."""


def select(
    table: Table,
    labels: Sequence[str] | None = None,
    limit: int | None = None,
    split_seed: int = 0,
    label_noise: Noise | None = None,
    unseen: Mapping[str, Any] | None = None,
    labels_of_folds: int = 0,
    **split: Any,
) -> Table:
    """Split anew where asked, keep some labels, in the given order, and at most `limit` images of each split.

    Args:
        labels: label names out of the table's; None keeps all.
        limit: images per split, for debugging, with each label's classes where there is room; None keeps all.
        label_noise, unseen: training labels turned over, findings only unlabelled images show: see `cxrvl.data.spoil`.
        labels_of_folds: unlabelled folds whose labels are learnt from, and so are noisy, too.
        split_seed, split: options of `cxrvl.data.resplit.resplit`; folds do not depend on the labels chosen.

    Raises:
        DataError: a label the table does not have.
        ConfigError: a limit below one.
    """
    table = resplit(table, split_seed=split_seed, **split)
    table = with_unseen(table, unseen, split_seed) if unseen is not None else table
    table = with_label_noise(table, label_noise, split_seed, labels_of_folds) if label_noise is not None else table
    if isinstance(labels, str):
        raise ConfigError(f"data.labels is the word {labels!r}; expected a list: data.labels=[{labels}]")
    if labels is not None:
        unknown = [name for name in labels if name not in table.labels]
        if unknown:
            raise DataError(
                f"data.labels asks for {', '.join(unknown)}, which {table.split_name} does not have; "
                f"known: {', '.join(table.labels)}"
            )
        table = replace(table, labels=tuple(labels))
    if limit is None:
        return table
    if limit < 1:
        raise ConfigError(f"data.limit is {limit}; expected at least one image per split, or null for all")
    splits = table.frame["split"].unique()
    targets = table.targets()
    kept = np.sort(np.concatenate([_few(table.split(str(name)), targets, limit) for name in splits]))
    return replace(table, frame=table.frame.iloc[kept].reset_index(drop=True))


def _few(rows: np.ndarray, targets: np.ndarray, limit: int) -> np.ndarray:
    """Take `limit` of the rows: one positive and one negative of each label where there is room, else evenly spread.

    A rare finding would otherwise leave a debug run without a positive, which cannot be trained.
    """
    if len(rows) <= limit:
        return rows
    needed: list[int] = []
    for value in (1, 0):
        for label in range(targets.shape[1]):
            having = rows[targets[rows, label] == value]
            if having.size and not np.isin(having, needed).any():
                needed.append(int(having[0]))
    needed = needed[:limit]
    rest = np.setdiff1d(rows, needed)
    spread = rest[np.linspace(0, len(rest) - 1, limit - len(needed)).round().astype(np.int64)]
    return np.concatenate([np.array(needed, dtype=np.int64), spread])

"""Which labels and rows of a study table does an experiment use?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError


def select(table: StudyTable, labels: Sequence[str] | None = None, limit: int | None = None) -> StudyTable:
    """Keep some labels, in the given order, and at most `limit` images of each split.

    Args:
        labels: label names out of the table's; None keeps all.
        limit: images per split, taken evenly over the split's rows, for debugging; None keeps all.

    Raises:
        DataError: a label the table does not have.
        ConfigError: a limit below one.
    """
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
    kept = np.sort(np.concatenate([_evenly(table.split(str(name)), limit) for name in splits]))
    return replace(table, frame=table.frame.iloc[kept].reset_index(drop=True))


def _evenly(rows: np.ndarray, limit: int) -> np.ndarray:
    """Take `limit` of the rows at equal distances, so that patients and classes are spread."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]

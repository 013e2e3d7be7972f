"""Which images of a study table are shown as examples, chosen by their labels alone and never by how well they look?"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrvl.data.studies import StudyTable


class Chosen(NamedTuple):
    """One image to show: its row in the table, the finding it stands for, and whether it has the finding."""

    row: int
    label: str
    present: bool = True

    @property
    def title(self) -> str:
        """The finding as written beside the image."""
        return self.label if self.present else f"no {self.label}"


def first_examples(table: StudyTable, rows: NDArray[np.int64], count: int) -> list[Chosen]:
    """Choose up to `count` of some rows.

    Where any of them has a box of a label: the first with a box of each label. Elsewhere: the first image with each
    label, then the first without it, and so on in turn; no image twice, an unknown label is neither.

    Returns:
        Nothing where no label is known.
    """
    return list(islice(first_with_box(table, rows) or _by_label(table, rows), count))


def first_with_box(table: StudyTable, rows: NDArray[np.int64]) -> list[Chosen]:
    """Choose the first of some rows with a box of each label, in the order of the labels."""
    found: dict[str, int] = {}
    for row, boxes in zip(rows.tolist(), table.frame["boxes"].iloc[rows], strict=True):
        for box in boxes:
            found.setdefault(box[0], row)
    return [Chosen(found[label], label) for label in table.labels if label in found]


def _by_label(table: StudyTable, rows: NDArray[np.int64]) -> Iterator[Chosen]:
    values = table.targets()[rows]
    queues = [
        (label, present, iter(rows[values[:, column] == present].tolist()))
        for present in (True, False)
        for column, label in enumerate(table.labels)
    ]
    shown: set[int] = set()
    while queues:
        left = []
        for label, present, queue in queues:
            row = next((row for row in queue if row not in shown), None)
            if row is not None:
                shown.add(row)
                left.append((label, present, queue))
                yield Chosen(row, label, present)
        queues = left

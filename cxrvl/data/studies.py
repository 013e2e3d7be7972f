"""What does one row per radiograph look like? The study table: every source returns one, every data module reads one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from cxrvl.data import checks
from cxrvl.data.fingerprints import boxes_digest, digest, labels_digest, order_by_key
from cxrvl.data.rows import LabelledRows, joint_labels, joint_origin, lay_out, numbers, words
from cxrvl.errors import DataError

if TYPE_CHECKING:
    from cxrvl.data.reports.table import ReportTable

NEEDED = ("image", "dataset", "patient", "split")
TEXT = ("view", "sex", "study")
SECTIONS = ("findings", "impression", "indication", "comparison", "technique", "report", "notes")
COLUMNS = (*NEEDED, *TEXT, "age", "boxes", "width", "height", "bytes", *SECTIONS)
UNKNOWN_SIZE = -1


@dataclass(frozen=True)
class StudyTable(LabelledRows):
    """One row per image of one or several data sets, checked.

    frame: a RangeIndex (row number = "index" in batches) and the columns
        image    key: posix path below the root, or a generated name such as "phantom/7/000123"
        dataset  name of the data set; (dataset, image) is unique
        patient, study, view, sex    strings, "" where unknown; patients are never unknown
        age      float32 years, NaN where unknown
        split    "train", "val", "test" or "unlabelled"; never two for one patient of one data set
        boxes    list of (label, x0, y0, x1, y1) in [0, 1] of native width and height; [] = no box annotation
        width, height    float32 native pixels, NaN where unknown
        bytes    int64 content size: the file's bytes, 0 for generated images, -1 where not measured
        one float32 column per label: 1 positive, 0 negative, -1 uncertain, NaN not stated
        and any further columns of the source, such as the report sections `SECTIONS`
    labels: the label columns, in the order of a model's outputs.
    split_name: the split's published or config name, printed with every result.
    root: folder the image keys are relative to; None for generated images or several roots.
    split_lists: SHA-256 of the split list files read, "" where the split has none.
    notes: what a reader of results should know about how the table was made (dropped rows, mended values).
    """

    frame: pd.DataFrame
    labels: tuple[str, ...]
    split_name: str
    root: Path | None = None
    split_lists: str = ""
    notes: tuple[str, ...] = ()
    unit: ClassVar[str] = "images"

    @classmethod
    def build(
        cls,
        frame: pd.DataFrame,
        labels: Sequence[str],
        *,
        split_name: str,
        root: Path | None,
        origin: str,
        check_files: bool = True,
        split_lists: str = "",
        notes: Iterable[str] = (),
    ) -> "StudyTable":
        """Check a raw table and complete it.

        frame: columns `NEEDED` and one per label; the others of the class's list may be absent. Its index holds the
        0-based data rows of `origin` (a file name), so that errors can name them. With `root=None` the images are
        generated and no file is looked for; with `check_files=False` file sizes stay unknown.
        Raises DataError naming origin, row and remedy on any fault listed in `cxrvl.data.checks`.
        """
        labels = tuple(labels)
        checks.check_label_names(labels, COLUMNS, origin)
        checks.check_columns(frame, (*NEEDED, *labels), origin)
        table = _complete(frame, labels, origin)
        checks.check_keys(table, origin)
        checks.check_splits(table, origin)
        checks.check_label_values(table, labels, origin)
        checks.check_ages(table, origin)
        checks.check_boxes(table, labels, origin)
        checks.check_text(table, [name for name in SECTIONS if name in table], origin)
        if root is not None and check_files:
            table["bytes"] = checks.check_files(table, root, origin)
        elif root is not None:
            table["bytes"] = np.int64(UNKNOWN_SIZE)
        table[list(labels)] = table[list(labels)].astype(np.float32)
        return cls(table.reset_index(drop=True), labels, split_name, root, split_lists, tuple(notes))

    @classmethod
    def concat(cls, tables: Sequence["StudyTable"], labels: Sequence[str] | None = None) -> "StudyTable":
        """Join the tables of several data sets, in the order given.

        labels: the joint vocabulary, by default the union in order of first mention; a label that a data set does not
        know is NaN (not stated) there. Patients of different data sets are different people, whatever their names.
        The order of rows is: all rows of the first table, then of the second, and so on.
        Raises DataError if there is no table, or if an image key of one data set appears twice.
        """
        if not tables:
            raise DataError("no study table to join; name at least one source under data.sources")
        if len(tables) == 1 and (labels is None or tuple(labels) == tables[0].labels):
            return tables[0]
        wanted = joint_labels(tables, labels)
        frames = [_with_labels(table, wanted) for table in tables]
        joint = pd.concat(frames, ignore_index=True)
        for column in joint.columns.difference([*wanted, *COLUMNS]):
            joint[column] = joint[column].astype(object)
        origin = joint_origin(tables)
        checks.check_keys(joint, origin)
        checks.check_splits(joint, origin)
        roots = {table.root for table in tables}
        lists = [table.split_lists for table in tables]
        return cls(
            joint,
            wanted,
            " + ".join(dict.fromkeys(table.split_name for table in tables)),
            roots.pop() if len(roots) == 1 else None,
            digest(lists) if any(lists) else "",
            tuple(note for table in tables for note in table.notes),
        )

    def check_trainable(self, split: str = "train") -> None:
        """Refuse to train on labels without a positive or without a negative image in `split`, by name."""
        counts = self.class_counts(split)
        for value in ("positive", "negative"):
            without = counts.index[counts[value] == 0].tolist()
            if without:
                rest = [label for label in self.labels if label not in without]
                raise DataError(
                    f"split {split!r} of {self.split_name!r} ({int(self.split(split).size)} images) has no {value} image "
                    f"for {checks.listing(without, 40)}: nothing can be learned there. "
                    f"Leave them out (data.labels: [{', '.join(rest)}]) or use another split"
                )

    def with_split(self, split: np.ndarray | pd.Series, split_name: str, split_lists: str = "") -> "StudyTable":
        """Give every row another split: (N,) strings; checked for patients in two splits again."""
        frame = self.frame.assign(split=np.asarray(split, dtype=object))
        checks.check_splits(frame, f"split {split_name!r}")
        return replace(self, frame=frame, split_name=split_name, split_lists=split_lists)

    def reports(self) -> "ReportTable":
        """One row per study with its text; DataError for a table without text, or a study whose images disagree on it."""
        from cxrvl.data.reports.table import reports_of

        return reports_of(self)

    @property
    def split_sha256(self) -> str:
        """SHA-256 of who is in which split: (data set, image, patient, split) of all rows, in any order."""
        return str(self.fingerprint()["split"])

    def fingerprint(self) -> dict[str, str | int]:
        """Identify what a run learns from, whatever the order of rows; part of the run id (DESIGN.md section 2).

        Returns rows (int) and the SHA-256 of images (keys and content sizes), labels (names, their order, values),
        boxes, split; of the split list files where there are any, and of the report sections where there are any.
        Raises DataError if the file sizes were never measured.
        """
        return dict(self._fingerprint)

    @cached_property
    def _fingerprint(self) -> Mapping[str, str | int]:
        if (self.frame["bytes"] == UNKNOWN_SIZE).any():
            raise DataError("this table was built with check_files=False: without file sizes it has no fingerprint")
        order = order_by_key(self.frame)
        frame = self.frame.iloc[order]
        parts: dict[str, str | int] = {
            "rows": len(frame),
            "images": digest(frame["dataset"], frame["image"], frame["bytes"].astype(str)),
            "labels": labels_digest(self.labels, self.targets()[order]),
            "boxes": boxes_digest(frame),
            "split": digest(frame["dataset"], frame["image"], frame["patient"], frame["split"]),
        }
        if self.split_lists:
            parts["split_lists"] = self.split_lists
        sections = [name for name in SECTIONS if name in frame.columns]
        if sections:
            parts["text"] = digest(sections, *(frame[name].fillna("").astype(str) for name in sections))
        return parts


def _complete(frame: pd.DataFrame, labels: tuple[str, ...], origin: str) -> pd.DataFrame:
    """Add the optional columns that are absent and bring all to their types."""
    table = frame.copy()
    if not pd.api.types.is_integer_dtype(table.index.dtype):
        table.index = pd.RangeIndex(len(table))
    for column in (*NEEDED, *TEXT):
        table[column] = words(table, column)
    # An image without a study of its own is its own study.
    table["study"] = table["study"].where(table["study"] != "", table["image"])
    for column in (*labels, "age", "width", "height"):
        table[column] = numbers(table, column, origin)
    if "boxes" not in table:
        table["boxes"] = pd.Series([[] for _ in range(len(table))], index=table.index, dtype=object)
    table["bytes"] = table["bytes"].astype(np.int64) if "bytes" in table else np.int64(0)
    return table


def _with_labels(table: StudyTable, labels: tuple[str, ...]) -> pd.DataFrame:
    """Lay a table's labels out as `labels`; boxes of labels that are not wanted go."""
    frame = lay_out(table, labels)
    if any(name not in labels for name in table.labels):
        frame["boxes"] = [[box for box in boxes if box[0] in labels] for boxes in frame["boxes"]]
    return frame

"""What does one row per report look like? The report table: text, patient, split and labels, with or without images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd

from cxrvl.data import checks
from cxrvl.data.fingerprints import digest, labels_digest, order_by_key
from cxrvl.data.labels import strongest
from cxrvl.data.rows import LabelledRows, joint_labels, joint_origin, lay_out, numbers, words
from cxrvl.data.studies import SECTIONS, StudyTable
from cxrvl.errors import DataError

KEYS = ("dataset", "study", "patient", "split")
COLUMNS = (*KEYS, *SECTIONS, "images")


@dataclass(frozen=True)
class ReportTable(LabelledRows):
    """One row per report of one or several data sets, checked.

    frame: a RangeIndex and the columns
        dataset, study    (dataset, study) is unique
        patient           never unknown; never in two splits of one data set
        split             "train", "val", "test" or "unlabelled"
        those of `SECTIONS` that the source has: strings, "" where a report lacks the section
        images            int64 number of images of the study, 0 where there is none
        one float32 column per label: 1 positive, 0 negative, -1 uncertain, NaN not stated
    labels, split_name, split_lists, notes: as in `StudyTable`.
    """

    frame: pd.DataFrame
    labels: tuple[str, ...]
    split_name: str
    split_lists: str = ""
    notes: tuple[str, ...] = ()
    unit: ClassVar[str] = "reports"

    @classmethod
    def build(
        cls,
        frame: pd.DataFrame,
        labels: Sequence[str],
        *,
        split_name: str,
        origin: str,
        split_lists: str = "",
        notes: Iterable[str] = (),
    ) -> "ReportTable":
        """Check a raw table and complete it; other columns than the class's are left out.

        frame: the columns dataset, study, patient, split, at least one section, one per label, and images where known.
        Its index holds the 0-based data rows of `origin` (a file name), so that errors can name them.
        Raises DataError naming origin, row and remedy: an absent column, no rows, an unknown or repeated key, a patient
        in two splits, label values other than 1, 0, -1 or empty, text that is no text (see `checks.check_text`).
        """
        labels = tuple(labels)
        checks.check_label_names(labels, COLUMNS, origin)
        checks.check_columns(frame, (*KEYS, *labels), origin)
        sections = [name for name in SECTIONS if name in frame.columns]
        if not sections:
            raise DataError(
                f"{origin}: no column with report text; found {checks.listing(list(frame.columns), 20)}, expected "
                f"one of {', '.join(SECTIONS)}"
            )
        index = frame.index if pd.api.types.is_integer_dtype(frame.index.dtype) else pd.RangeIndex(len(frame))
        raw = frame.set_axis(index, axis=0)
        checks.check_text(raw, sections, origin)
        table = pd.DataFrame({name: words(raw, name) for name in (*KEYS, *sections)}, index=index)
        table["images"] = numbers(raw, "images", origin).fillna(0).astype(np.int64)
        for label in labels:
            table[label] = numbers(raw, label, origin)
        _check_keys(table, origin)
        checks.check_splits(table, origin)
        checks.check_label_values(table, labels, origin)
        return cls(table.reset_index(drop=True), labels, split_name, split_lists, tuple(notes))

    @classmethod
    def concat(cls, tables: Sequence["ReportTable"], labels: Sequence[str] | None = None) -> "ReportTable":
        """Join the tables of several data sets, in the order given; labels as in `StudyTable.concat`.

        A section that a data set does not have is "" there. Raises DataError if there is no table, or if a study of
        one data set appears twice.
        """
        if not tables:
            raise DataError("no report table to join; name at least one source under data.sources")
        if len(tables) == 1 and (labels is None or tuple(labels) == tables[0].labels):
            return tables[0]
        wanted = joint_labels(tables, labels)
        joint = pd.concat([lay_out(table, wanted) for table in tables], ignore_index=True)
        sections = [name for name in SECTIONS if name in joint]
        joint[sections] = joint[sections].fillna("")
        joint = joint[[*KEYS, *sections, "images", *wanted]]
        origin = joint_origin(tables)
        _check_keys(joint, origin)
        checks.check_splits(joint, origin)
        lists = [table.split_lists for table in tables]
        return cls(
            joint,
            wanted,
            " + ".join(dict.fromkeys(table.split_name for table in tables)),
            digest(lists) if any(lists) else "",
            tuple(note for table in tables for note in table.notes),
        )

    @property
    def sections(self) -> tuple[str, ...]:
        """The text columns, in the order of `SECTIONS`."""
        return tuple(name for name in SECTIONS if name in self.frame.columns)

    def select(self, rows: np.ndarray, note: str = "") -> "ReportTable":
        """Keep some rows: (n,) row numbers or (N,) bool; `note` says why for readers of results."""
        kept = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=np.int64)
        if not kept.size:
            raise DataError(
                f"no report of {self.split_name!r} is left{f' ({note})' if note else ''}; keep at least one"
            )
        notes = (*self.notes, note) if note else self.notes
        return replace(self, frame=self.frame.iloc[kept].reset_index(drop=True), notes=notes)

    def with_split(self, split: np.ndarray | pd.Series, split_name: str, split_lists: str = "") -> "ReportTable":
        """Give every row another split: (N,) strings; checked for patients in two splits again."""
        frame = self.frame.assign(split=np.asarray(split, dtype=object))
        checks.check_splits(frame, f"split {split_name!r}")
        return replace(self, frame=frame, split_name=split_name, split_lists=split_lists)

    def count(self) -> pd.DataFrame:
        """Count per split and in "all": reports, patients, images, reports with each section, and `empty` ones (int)."""
        has = {name: self.frame[name].str.strip() != "" for name in self.sections}
        person = self.frame["dataset"] + "\0" + self.frame["patient"]
        counts = {}
        for split in [*dict.fromkeys(checks.SPLIT_NAMES), "all"]:
            rows = (self.frame["split"] == split) | (split == "all")
            if rows.any():
                counts[split] = {
                    "reports": int(rows.sum()),
                    "patients": int(person[rows].nunique()),
                    "images": int(self.frame.loc[rows, "images"].sum()),
                    **{name: int(there[rows].sum()) for name, there in has.items()},
                    "empty": int((~np.any([there[rows] for there in has.values()], axis=0)).sum()),
                }
        return pd.DataFrame.from_dict(counts, orient="index").rename_axis("split")

    @property
    def split_sha256(self) -> str:
        """SHA-256 of who is in which split: (data set, study, patient, split) of all rows, in any order."""
        return str(self.fingerprint()["split"])

    def fingerprint(self) -> dict[str, str | int]:
        """Identify what a run learns from, whatever the order of rows: rows (int) and SHA-256 of labels, split, text.

        Part of the run id (DESIGN.md section 2), as `StudyTable.fingerprint` is.
        """
        return dict(self._fingerprint)

    @cached_property
    def _fingerprint(self) -> dict[str, str | int]:
        order = order_by_key(self.frame, "study")
        frame = self.frame.iloc[order]
        parts: dict[str, str | int] = {
            "rows": len(frame),
            "labels": labels_digest(self.labels, self.targets()[order]),
            "split": digest(frame["dataset"], frame["study"], frame["patient"], frame["split"]),
            "text": digest(self.sections, *(frame[name] for name in self.sections)),
        }
        if self.split_lists:
            parts["split_lists"] = self.split_lists
        return parts


def _check_keys(table: pd.DataFrame, origin: str) -> None:
    """Refuse rows without data set, study or patient, and studies that appear twice."""
    for column in ("dataset", "study", "patient"):
        empty = np.flatnonzero((table[column] == "").to_numpy())
        if empty.size:
            raise DataError(
                f"{origin}, {checks.row_name(table, int(empty[0]))}: no {column}; give every report one "
                f"({empty.size} such rows)"
            )
    twice = np.flatnonzero(table.duplicated(["dataset", "study"]).to_numpy())
    if twice.size:
        first = int(twice[0])
        raise DataError(
            f"{origin}, {checks.row_name(table, first)}: the study is listed before; every report may be listed once: "
            f"remove or merge the duplicates ({twice.size} such rows)"
        )


def reports_of(table: StudyTable) -> ReportTable:
    """One row per study of a table of images: its text, and of its images' label values the strongest.

    Strongest: 1 before -1 before 0 before not stated. Raises DataError if the table has no text column, or naming two
    rows of one study that differ in patient, split or text.
    """
    frame = table.frame
    sections = [name for name in SECTIONS if name in frame.columns]
    if not sections:
        raise DataError(
            f"{table.split_name!r} has images but no report text; expected one of the columns {', '.join(SECTIONS)}. "
            "Use a source with reports, or map its text columns"
        )
    codes, studies = pd.factorize(frame["dataset"] + "\0" + frame["study"])
    _, first = np.unique(codes, return_index=True)
    result = frame.iloc[first][list(KEYS)].reset_index(drop=True)
    for name in ("patient", "split", *sections):
        values = words(frame, name)
        result[name] = values.iloc[first].to_numpy(dtype=object)
        differs = np.flatnonzero(values.to_numpy() != result[name].to_numpy()[codes])
        if differs.size:
            row = int(differs[0])
            raise DataError(
                f"{table.split_name!r}: study {frame['study'].iloc[row]!r} has one {name} in "
                f"{checks.row_name(frame, int(first[codes[row]]))}, and another in {checks.row_name(frame, row)} "
                f"({differs.size} such rows); the images of a study share one report: repeat it in every row, or give "
                "the images studies of their own"
            )
    result["images"] = np.bincount(codes, minlength=len(studies)).astype(np.int64)
    result[list(table.labels)] = strongest(table.targets(), codes, len(studies))
    return ReportTable.build(
        result,
        table.labels,
        split_name=table.split_name,
        origin=f"reports of {table.split_name!r}",
        split_lists=table.split_lists,
        notes=table.notes,
    )

"""What do a table of images and a table of reports share? Rows with a patient, a split and label columns."""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np
import pandas as pd

from cxrvl.data import checks
from cxrvl.errors import DataError


class LabelledRows:
    """Base of the tables: a checked frame with the columns dataset, patient, split and one float32 column per label."""

    frame: pd.DataFrame
    labels: tuple[str, ...]
    split_name: str
    unit: ClassVar[str]
    """What one row is, in the plural, for messages."""

    def __len__(self) -> int:
        return len(self.frame)

    def split(self, name: str) -> np.ndarray:
        """Row numbers (n,) int64 of one split, ascending; DataError if it is empty or unknown."""
        rows = np.flatnonzero((self.frame["split"] == name).to_numpy()).astype(np.int64)
        if not rows.size:
            there = ", ".join(
                f"{key} ({count} {self.unit})" for key, count in self.frame["split"].value_counts().items()
            )
            raise DataError(
                f"split {name!r} of {self.split_name!r} is empty; splits with {self.unit}: {there}. "
                "Use one of these, or another split of the data set"
            )
        return rows

    def targets(self) -> np.ndarray:
        """Label values (N, L) float32: 1 positive, 0 negative, -1 uncertain, NaN not stated."""
        return self.frame[list(self.labels)].to_numpy(dtype=np.float32)

    def class_counts(self, split: str) -> pd.DataFrame:
        """Count label values in one split: index = labels, columns positive, negative, uncertain, unstated (int)."""
        values = self.targets()[self.split(split)]
        counts = {
            "positive": (values == 1).sum(axis=0),
            "negative": (values == 0).sum(axis=0),
            "uncertain": (values == -1).sum(axis=0),
            "unstated": np.isnan(values).sum(axis=0),
        }
        return pd.DataFrame(counts, index=pd.Index(self.labels, name="label"))


Rows = TypeVar("Rows", bound=LabelledRows)


def joint_labels(tables: Sequence[LabelledRows], labels: Sequence[str] | None) -> tuple[str, ...]:
    """The label columns of joined tables: those wanted, or all in order of first mention; DataError for an unknown one."""
    known = tuple(dict.fromkeys(name for table in tables for name in table.labels))
    wanted = known if labels is None else tuple(labels)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise DataError(f"no source has the label {checks.listing(unknown)}; known: {checks.listing(known, 40)}")
    return wanted


def lay_out(table: LabelledRows, labels: Sequence[str]) -> pd.DataFrame:
    """A table's frame with the label columns `labels`: others go, absent ones are NaN (not stated)."""
    frame = table.frame.drop(columns=[name for name in table.labels if name not in labels])
    for name in labels:
        if name not in frame.columns:
            frame[name] = np.float32(np.nan)
    return frame


def joint_origin(tables: Sequence[LabelledRows]) -> str:
    """Name joined tables in messages: by their data sets."""
    return "joint table of " + " + ".join(dict.fromkeys(str(t.frame["dataset"].iloc[0]) for t in tables))


def words(table: pd.DataFrame, column: str) -> pd.Series:
    """One column as strings, "" where empty or absent."""
    values = table[column] if column in table else pd.Series("", index=table.index)
    return values.astype(object).where(values.notna(), "").astype(str).astype(object)


def numbers(table: pd.DataFrame, column: str, origin: str) -> pd.Series:
    """One column as float32, NaN where empty or absent; DataError naming the row of anything else."""
    values = table[column] if column in table else pd.Series(np.nan, index=table.index)
    result = pd.to_numeric(values, errors="coerce").astype(np.float32)
    lost = np.flatnonzero((result.isna() & values.notna()).to_numpy())
    if lost.size:
        where = checks.row_name(table, int(lost[0]))
        raise DataError(
            f"{origin}, {where}: {column} is {values.iloc[int(lost[0])]!r}, expected a number or an empty field "
            f"({lost.size} such rows); map the value to a number"
        )
    return result

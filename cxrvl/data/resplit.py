"""How does one source serve cross-validation, small label fractions and self-training? Its study table is split anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from cxrvl.config.numbers import number, whole
from cxrvl.data.checks import listing
from cxrvl.data.fingerprints import digest
from cxrvl.data.folds import LABELLED, distl_folds, kfold, label_fractions, without_positive
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.rows import LabelledRows
from cxrvl.data.splits import SplitAssignment, read_split_file
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

FOLDS = 5
UNLABELLED_FOLD = "unlabelled_fold"
Draw = Callable[[list[str], np.ndarray], np.ndarray]
Table = TypeVar("Table", StudyTable, ReportTable)


def resplit(
    table: Table,
    split_file: str | None = None,
    fold: int | None = None,
    folds: int | None = None,
    label_fraction: float | None = None,
    unlabelled_folds: int | None = None,
    split_seed: int = 0,
) -> Table:
    """Give a study table another split; with no option but the seed the table itself.

    Patients are drawn in each data set for itself, stratified by all labels of the source, and never out of the test
    part. The new split is part of the table's `split_sha256`.

    Args:
        split_file: CSV as `cxrvl split` writes it, instead of the source's own split.
        fold: which of `folds` becomes the validation part; training gets the others. Out of the file's column where it
            has one, else drawn from the patients of train and val.
        folds: number of folds, 5 by default.
        label_fraction: share of the training patients that keep their labels; the others become "unlabelled".
        unlabelled_folds: deal the unlabelled patients to so many parts, in the column `unlabelled_fold` (int64, -1 =
            not unlabelled), to be used cumulatively (DISTL: `label_fraction=0.1 unlabelled_folds=3`).
        split_seed: another seed, another draw.

    Raises:
        ConfigError: an option that does not fit the others or the file.
        DataError: the file cannot be used, or does not list a patient of the table.
    """
    members = None
    if split_file is not None:
        members = read_split_file(Path(split_file).expanduser())
        table = _from_file(table, members)
    if folds is not None and fold is None:
        raise ConfigError(f"data.folds={folds} without data.fold; say which fold is the validation part, from 0")
    if unlabelled_folds is not None and label_fraction is None:
        raise ConfigError(
            "data.unlabelled_folds needs data.label_fraction: the share that keeps its labels, such as 0.1"
        )
    if fold is not None:
        table = _one_fold(table, members, fold, folds, split_seed)
    if label_fraction is not None:
        number("data.label_fraction", label_fraction)
        if unlabelled_folds is not None:
            whole("data.unlabelled_folds", unlabelled_folds)
        table = _labelled_part(table, members, label_fraction, unlabelled_folds, split_seed)
    return table


def drawn(table: LabelledRows, rows: np.ndarray, draw: Draw) -> np.ndarray:
    """Call `draw(patients, positives)` for the rows (n,) of each data set; returns its values (n,) together.

    Raises DataError if there is no row.
    """
    if not rows.size:
        raise DataError(f"{table.split_name}: there is no training image to draw from")
    frame, positives = table.frame.iloc[rows], table.targets()[rows] == 1
    sets = frame["dataset"].to_numpy(dtype=object)
    parts: np.ndarray | None = None
    for name in dict.fromkeys(sets):
        inside = sets == name
        values = draw(frame["patient"][inside].tolist(), positives[inside])
        parts = np.zeros(rows.size, dtype=values.dtype) if parts is None else parts
        parts[inside] = values
    assert parts is not None
    return parts


def rows_of(table: LabelledRows, *splits: str) -> np.ndarray:
    """Rows (n,) int64 of some splits, ascending; none of them need hold any."""
    return np.flatnonzero(table.frame["split"].isin(splits).to_numpy()).astype(np.int64)


def _from_file(table: Table, members: SplitAssignment) -> Table:
    sets = table.frame["dataset"].unique().tolist()
    if len(sets) > 1:
        raise ConfigError(
            f"data.split_file is for one data set, these are {len(sets)} ({listing(sets)}); give each source its own split"
        )
    if members.by not in table.frame:
        raise ConfigError(f"{members.origin} lists images, but the data are reports alone; write it by patient")
    keys = table.frame[members.by].tolist()
    split = members.apply(keys)
    unlisted = np.flatnonzero(split == "")
    if unlisted.size:
        raise DataError(
            f"{members.origin}: {members.by} {keys[int(unlisted[0])]!r} of {sets[0]} is not listed "
            f"({unlisted.size} such images); write the file again with `cxrvl split`, or add the lines"
        )
    if "labelled" in members.parts:
        split[(split == "train") & (_column(members, "labelled", keys) == "0")] = "unlabelled"
    name = f"{Path(members.origin).name} {members.sha256[:8]}"
    lists = digest([table.split_lists, members.sha256]) if table.split_lists else members.sha256
    table = table.with_split(split, name, lists)
    if "labelled" in members.parts and "fold" in members.parts:
        fold = [int(value) if value else LABELLED for value in _column(members, "fold", keys)]
        table.frame[UNLABELLED_FOLD] = np.where(split == "unlabelled", np.array(fold, dtype=np.int64), LABELLED)
    return table


def _column(members: SplitAssignment, name: str, keys: list[str]) -> np.ndarray:
    return np.array([members.parts[name][key] for key in keys], dtype=object)


def _one_fold(table: Table, members: SplitAssignment | None, fold: int, folds: int | None, seed: int) -> Table:
    """Make one fold of the patients in train and val the validation part."""
    rows = rows_of(table, "train", "val")
    if members is not None and "fold" in members.parts:
        if "labelled" in members.parts:
            raise ConfigError(
                f"{members.origin}: its folds are parts of the unlabelled patients; data.fold cannot choose one"
            )
        written = _column(members, "fold", table.frame[members.by].iloc[rows].tolist())
        part = np.array([int(value) if value else LABELLED for value in written], dtype=np.int64)
        there = int(part.max()) + 1
        if folds is not None and folds != there:
            raise ConfigError(f"data.folds is {folds}, but {members.origin} has {there} folds; leave data.folds out")
        folds, how = there, "of the file"
    else:
        folds, how = FOLDS if folds is None else folds, f"seed {seed}"
        count = folds
        part = drawn(table, rows, lambda patients, positives: kfold(patients, positives, count, seed))
    if not 0 <= fold < folds:
        raise ConfigError(f"data.fold is {fold}; expected 0 to {folds - 1}, since there are {folds} folds")
    split = table.frame["split"].to_numpy(dtype=object).copy()
    split[rows] = np.where(part == fold, "val", "train")
    new = table.with_split(split, f"{table.split_name}, fold {fold} of {folds} ({how})", table.split_lists)
    lost = without_positive(part == fold, table.targets()[rows] == 1, table.labels)
    return _noted(
        new, f"fold {fold} of {folds}: no positive image of {listing(lost, 20)} in validation" if lost else ""
    )


def _labelled_part(
    table: Table, members: SplitAssignment | None, fraction: float, unlabelled_folds: int | None, seed: int
) -> Table:
    """Take the labels from all but a share of the training patients, by moving them to the split "unlabelled"."""
    rows = rows_of(table, "train")
    if members is not None and "fraction" in members.parts:
        if unlabelled_folds is not None:
            raise ConfigError(f"{members.origin} has label fractions, but no unlabelled folds; leave one of them out")
        written = _column(members, "fraction", table.frame[members.by].iloc[rows].tolist())
        smallest = np.array([float(value) if value else 1.0 for value in written])
        if fraction not in smallest:
            known = listing([f"{value:g}" for value in np.unique(smallest)], 20)
            raise ConfigError(
                f"data.label_fraction is {fraction:g}, which {members.origin} does not have; it has {known}"
            )
        part = np.where(smallest <= fraction, LABELLED, 0)
        how = "of the file"
    elif unlabelled_folds is not None:
        count = unlabelled_folds
        part = drawn(table, rows, lambda people, found: distl_folds(people, found, seed, fraction, count))
        how = f"seed {seed}, {unlabelled_folds} unlabelled folds"
    else:
        smallest = drawn(table, rows, lambda people, found: label_fractions(people, found, [fraction], seed))
        part, how = np.where(smallest <= fraction, LABELLED, 0), f"seed {seed}"
    split = table.frame["split"].to_numpy(dtype=object).copy()
    split[rows[part != LABELLED]] = "unlabelled"
    new = table.with_split(split, f"{table.split_name}, {fraction:.4g} labelled ({how})", table.split_lists)
    if unlabelled_folds is not None:
        fold = np.full(len(table), LABELLED, dtype=np.int64)
        fold[rows] = part
        new.frame[UNLABELLED_FOLD] = fold
    return _noted(new, said(table, rows, part == LABELLED, fraction))


def said(table: LabelledRows, rows: np.ndarray, labelled: np.ndarray, fraction: float) -> str:
    """One sentence on what a label fraction of the rows (n,) really holds; labelled: (n,) bool."""
    person = table.frame[["dataset", "patient"]].iloc[rows]
    have, of = len(person[labelled].drop_duplicates()), len(person.drop_duplicates())
    text = f"label fraction {fraction:g}: {have} of {of} training patients"
    if have > max(round(fraction * of), 1):
        text += f" ({have / of:.3g}, more than asked, so that every finding has a positive patient)"
    lost = without_positive(labelled, table.targets()[rows] == 1, table.labels)
    never = [
        label for label, any_ in zip(table.labels, (table.targets()[rows] == 1).any(axis=0), strict=True) if not any_
    ]
    text += f"; without a positive patient: {listing(lost, 20)}" if lost else ""
    return text + (f"; no training patient has {listing(never, 20)}" if never else "")


def _noted(table: Table, note: str) -> Table:
    return replace(table, notes=(*table.notes, note)) if note else table

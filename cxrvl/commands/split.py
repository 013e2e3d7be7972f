"""`cxrvl split`: write down who is trained on, validated on and tested on, as a versioned file."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from cxrvl.commands.data_config import source_table
from cxrvl.data.checks import SPLIT_NAMES, SPLITS, listing
from cxrvl.data.folds import DISTL_FOLDS, DISTL_LABELLED, LABEL_FRACTIONS, LABELLED, distl_folds, kfold, label_fractions
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.resplit import FOLDS, drawn, rows_of, said
from cxrvl.data.splits import planned_split, read_split_file, split_by_patient, write_split_file
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

SHARES = (0.7, 0.1, 0.2)
Parts = dict[str, list[str]]
Rows = StudyTable | ReportTable
# Per image, or per report where there are no images: its split, further columns of the file, and the parts that are
# counted, each (N,) bool.
Plan = tuple[np.ndarray, Parts, dict[str, np.ndarray]]


def split(options: argparse.Namespace) -> None:
    """Draw a split of a config's data set, write it as CSV, and print its SHA-256 and counts.

    Raises:
        ConfigError: options that do not go together, or another split under that name already.
    """
    table = source_table(options.overrides)
    sets = table.frame["dataset"].unique().tolist()
    if len(sets) > 1:
        raise ConfigError(f"a split file is for one data set; this config mixes {listing(sets)}: split each for itself")
    if options.folds is not None and options.kind not in ("kfold", "distl"):
        raise ConfigError(f"--folds goes with --kind kfold or distl, not with {options.kind}")
    if options.fractions is not None and options.kind in ("official", "kfold"):
        raise ConfigError(f"--fractions goes with --kind patient, fractions or distl, not with {options.kind}")
    chosen, parts, groups = KINDS[options.kind](table, options.folds, options.fractions, options.seed)
    path, patients = Path(options.out), table.frame["patient"].tolist()
    plan = planned_split(path, patients, chosen.tolist(), "patient", parts)
    if path.exists() and not options.force:
        there = _sha256_there(path)
        if there != plan.sha256:
            raise ConfigError(
                f"{path} holds another split (sha256 {there[:12]}, this one is {plan.sha256[:12]}); choose another name "
                "with --out, since runs may have used it, or replace it with --force"
            )
        print(f"{path} is this split already")
    else:
        write_split_file(path, patients, chosen.tolist(), "patient", parts)
        print(f"{path}: {len(plan.split)} patients, columns {', '.join(['patient', 'split', *plan.parts])}")
    print(f"sha256 {plan.sha256} (of the sorted lines, whatever their order in the file)")
    for note in _notes(table, options.kind, chosen, parts, options.fractions):
        print(f"note: {note}")
    Console(width=None if sys.stdout.isatty() else 160).print(_counts(table, groups))


def _sha256_there(path: Path) -> str:
    """SHA-256 of the split at `path`; ConfigError for a file that is none, which is no less worth keeping."""
    try:
        return read_split_file(path).sha256
    except DataError as error:
        raise ConfigError(f"{path} exists and is no split ({error}); choose another --out, or --force") from error


def _official(table: Rows, folds: int | None, fractions: Sequence[float] | None, seed: int) -> Plan:
    chosen = table.frame["split"].to_numpy(dtype=object)
    return chosen, {}, _by_split(chosen)


def _patient(table: Rows, folds: int | None, fractions: Sequence[float] | None, seed: int) -> Plan:
    shares = SHARES if fractions is None else tuple(fractions)
    if len(shares) != len(SPLITS):
        raise ConfigError(f"--fractions {' '.join(f'{s:g}' for s in shares)}: expected three, of {', '.join(SPLITS)}")
    patients = table.frame["patient"].tolist()
    chosen = split_by_patient(patients, dict(zip(SPLITS, shares, strict=True)), seed, table.targets() == 1)
    return chosen, {}, _by_split(chosen)


def _kfold(table: Rows, folds: int | None, fractions: Sequence[float] | None, seed: int) -> Plan:
    """Folds of all patients but the test part's; the column `split` stays the source's own."""
    count = FOLDS if folds is None else folds
    chosen, rows = table.frame["split"].to_numpy(dtype=object), rows_of(table, "train", "val")
    part = drawn(table, rows, lambda patients, positives: kfold(patients, positives, count, seed))
    fold = _column(table, rows, part.astype(str))
    groups = {f"fold {number}": np.array(fold) == str(number) for number in range(count)}
    return chosen, {"fold": fold}, groups | _by_split(chosen, without=("train", "val"))


def _fractions(table: Rows, folds: int | None, fractions: Sequence[float] | None, seed: int) -> Plan:
    """The smallest nested fraction of each training patient."""
    asked = LABEL_FRACTIONS if fractions is None else tuple(fractions)
    chosen, rows = table.frame["split"].to_numpy(dtype=object), rows_of(table, "train")
    smallest = drawn(table, rows, lambda patients, positives: label_fractions(patients, positives, asked, seed))
    column = _column(table, rows, np.array([f"{share:g}" if share < 1 else "" for share in smallest], dtype=object))
    shares = sorted(share for share in np.unique(smallest) if share < 1)
    groups = {f"{share:g}": np.isin(np.arange(len(table)), rows[smallest <= share]) for share in shares}
    return chosen, {"fraction": column}, groups | _by_split(chosen)


def _distl(table: Rows, folds: int | None, fractions: Sequence[float] | None, seed: int) -> Plan:
    """A labelled share and cumulative unlabelled folds of the training patients."""
    labelled, count = (fractions or [DISTL_LABELLED])[0], DISTL_FOLDS if folds is None else folds
    if fractions is not None and len(fractions) > 1:
        raise ConfigError("--fractions with --kind distl is one share, the labelled one, such as 0.1")
    chosen, rows = table.frame["split"].to_numpy(dtype=object), rows_of(table, "train")
    part = drawn(table, rows, lambda patients, found: distl_folds(patients, found, seed, labelled, count))
    fold = _column(table, rows, np.array(["" if value == LABELLED else str(value) for value in part], dtype=object))
    known = _column(table, rows, np.where(part == LABELLED, "1", "0").astype(object))
    groups = {"labelled": np.array(known) == "1"}
    groups |= {f"unlabelled {number}": np.array(fold) == str(number) for number in range(count)}
    return chosen, {"fold": fold, "labelled": known}, groups | _by_split(chosen, without=("train",))


KINDS: dict[str, Callable[[Rows, int | None, Sequence[float] | None, int], Plan]] = {
    "official": _official,
    "patient": _patient,
    "kfold": _kfold,
    "fractions": _fractions,
    "distl": _distl,
}


def _by_split(chosen: np.ndarray, without: Sequence[str] = ()) -> dict[str, np.ndarray]:
    return {name: chosen == name for name in SPLIT_NAMES if name not in without and (chosen == name).any()}


def _column(table: Rows, rows: np.ndarray, values: np.ndarray) -> list[str]:
    """Values of some rows as a column of the file, "" elsewhere."""
    column = np.full(len(table), "", dtype=object)
    column[rows] = values
    return column.tolist()


def _notes(table: Rows, kind: str, chosen: np.ndarray, parts: Parts, fractions: Sequence[float] | None) -> list[str]:
    """What a reader of the file should know: how large the shares really are, and which findings a part lacks."""
    rows, notes = np.flatnonzero(chosen == "train"), list(table.notes)
    if kind == "fractions":
        smallest = np.array([float(value) if value else 1.0 for value in parts["fraction"]])[rows]
        for share in np.unique(smallest[smallest < 1]):
            notes.append(said(table, rows, smallest <= share, float(share)))
    if kind == "distl":
        known = np.array(parts["labelled"])[rows] == "1"
        notes.append(said(table, rows, known, DISTL_LABELLED if fractions is None else fractions[0]))
    return notes


def _counts(table: Rows, groups: dict[str, np.ndarray]) -> Table:
    """Images or reports, patients and positive patients of each label, by part of the split."""
    positive = pd.DataFrame(table.targets() == 1, columns=list(table.labels))
    persons = {name: positive[inside].groupby(table.frame["patient"][inside]).max() for name, inside in groups.items()}
    shown = Table("finding", *groups, title=f"patients with a positive {table.unit.removesuffix('s')}")
    shown.add_row(table.unit, *(str(int(inside.sum())) for inside in groups.values()))
    shown.add_row("patients", *(str(len(people)) for people in persons.values()), end_section=True)
    for label in table.labels:
        shown.add_row(label, *(str(int(people[label].sum())) for people in persons.values()))
    return shown

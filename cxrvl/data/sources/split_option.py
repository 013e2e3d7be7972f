"""How does a config say who is in which split, where a data set has no published one? By a file, or by a seeded draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cxrvl.data.checks import SPLITS
from cxrvl.data.sources.base import FileSource, known_options
from cxrvl.data.splits import read_split_file, split_by_patient
from cxrvl.errors import DataError

SplitOption = str | Mapping[str, Any]


class RowSplit(NamedTuple):
    """Split names (N,) object of a table's rows; the split's printed name; SHA-256 of its file, "" without one."""

    split: np.ndarray
    name: str
    lists: str


def split_rows(
    source: FileSource, frame: pd.DataFrame, labels: Sequence[str], option: SplitOption, origin: str
) -> RowSplit:
    """Give every row of `frame` (columns patient, image where there are images, and the labels) its split.

    option: the name of a split file (`image,split` or `patient,split`), or a new patient-disjoint split
    {by: patient, fractions: {train: .7, val: .1, test: .2}, seed: 0, stratify: false}.
    Raises DataError for a row the file does not list, and for an option it does not know.
    """
    if isinstance(option, str):
        members = read_split_file(source._file(option, "data.source.split"))
        if members.by not in frame:
            raise DataError(
                f"{members.origin}: it is a split by {members.by}, but {source.name} has reports without one; "
                "give a file with the columns patient,split"
            )
        split = members.apply(frame[members.by].astype(str).tolist())
        unlisted = np.flatnonzero(split == "")
        if unlisted.size:
            row = int(unlisted[0])
            raise DataError(
                f"{members.origin}: {members.by} {frame[members.by].iloc[row]!r} of {origin} is not listed "
                f"({unlisted.size} such rows); add a line for it, or leave its rows out"
            )
        return RowSplit(split, f"{Path(option).name} {members.sha256[:8]}", members.sha256)
    known_options(option, ("by", "fractions", "seed", "stratify"), f"{source.name}: split")
    if option.get("by", "patient") != "patient" or "fractions" not in option:
        raise DataError(f"{source.name}: split is {dict(option)}, expected by: patient, fractions: {{...}}, seed: 0")
    fractions = {str(key): float(share) for key, share in option["fractions"].items()}
    seed = int(option.get("seed", 0))
    stratify = bool(option.get("stratify", False))
    positives = (frame[list(labels)] == 1).to_numpy() if stratify else None
    split = split_by_patient(frame["patient"].astype(str).tolist(), fractions, seed, positives)
    shares = "/".join(f"{fractions.get(name, 0):g}" for name in SPLITS)
    kind = "stratified by patient" if stratify else "by patient"
    return RowSplit(split, f"{source.name}: {kind} {shares} seed {seed}", "")

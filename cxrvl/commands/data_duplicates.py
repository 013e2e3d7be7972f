"""`cxrvl data duplicates`: which images of one or several data sets are the same picture, and do splits share some?"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrvl.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from cxrvl.data.duplicates import Pairs
    from cxrvl.data.images import ImageStore
    from cxrvl.data.studies import StudyTable

HELP = "near-duplicate images within and across data sets, and a warning where they cross splits"
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `cxrvl data duplicates` takes."""
    parser.add_argument(
        "overrides", nargs="+", metavar="data config",
        help="one or several, such as mhh_covid19 covid_chestxray; overrides follow their data set, or come first for all",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="CSV file of all pairs to write; it names images")
    parser.add_argument("--shown", type=int, default=SHOWN, help=f"pairs to print (default {SHOWN})")
    parser.add_argument("--threads", type=int, help="threads of the search (default: one per core)")


def run(options: argparse.Namespace) -> None:
    """Compare all images of the data configs with one another; images that are not decoded yet are decoded first.

    Raises:
        ConfigError: an option that cannot be, or one data set named twice.
    """
    if options.shown < 0 or (options.threads is not None and options.threads < 1):
        raise ConfigError(f"--shown is {options.shown}, --threads {options.threads}; expected 0 or more, and 1 or more")
    from cxrvl.data.aspects import Squares, reader
    from cxrvl.data.duplicates import duplicates

    parts = [_data(words) for words in grouped(options.overrides)]
    names = [name for table, _ in parts for name in table.frame["dataset"].unique()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the data set {twice[0]} is named twice; every image would be its own duplicate")
    read, count = reader([Squares.of(store, store.rows(table)) for table, store in parts])
    found = pair_table([table for table, _ in parts], duplicates(read, count, options.threads))
    print(f"{len(found)} pairs of near duplicates among {count} images of {', '.join(names)}")
    if options.out:
        from cxrvl.files import write_atomic

        write_atomic(Path(options.out), lambda file: found.to_csv(file, index=False, lineterminator="\n"))
        print(f"wrote {options.out}")
    _print(found, options.shown)
    crossing = found[found["split_a"] != found["split_b"]]
    if len(crossing):
        trained = crossing[(crossing[["split_a", "split_b"]] == "test").any(axis=1)]
        print(
            f"warning: {len(crossing)} pairs lie in two different splits, {len(trained)} of them with the test part: "
            "scores there are too good; leave one image of each out, or split the data sets together",
            file=sys.stderr,
        )


def grouped(words: Sequence[str]) -> list[list[str]]:
    """Overrides of each data config: a word without an equals sign, or `data=`, starts one; leading ones are for all."""
    common: list[str] = []
    groups: list[list[str]] = []
    for word in words:
        if "=" not in word or word.startswith("data="):
            groups.append([word])
        else:
            (groups[-1] if groups else common).append(word)
    return [[group[0], *common, *group[1:]] for group in groups] or [common]


def _data(words: Sequence[str]) -> tuple["StudyTable", "ImageStore"]:
    """Study table and finished store of one data config."""
    from cxrvl.commands.data_config import data_config
    from cxrvl.runs.trainer import build_images

    data = build_images(data_config(words, "data"))
    return data.table, data.store


def pair_table(tables: Sequence["StudyTable"], pairs: "Pairs") -> "pd.DataFrame":
    """Name the images of pairs: columns dataset_, image_, split_ of a and b, same_patient, correlation, mirrored, inverted."""
    import pandas as pd

    rows = pd.concat([table.frame[["dataset", "image", "split", "patient"]] for table in tables], ignore_index=True)
    a, b = (rows.iloc[numbers].reset_index(drop=True) for numbers in (pairs.first, pairs.second))
    found = pd.concat([a.add_suffix("_a"), b.add_suffix("_b")], axis=1)
    same = (found["patient_a"] == found["patient_b"]) & (found["dataset_a"] == found["dataset_b"])
    found = found.drop(columns=["patient_a", "patient_b"])
    return found.assign(
        same_patient=same, correlation=pairs.correlation.round(4), mirrored=pairs.mirrored, inverted=pairs.inverted
    )


def _print(found: "pd.DataFrame", shown: int) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if found.empty:
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    counts = Table("first", "second", "pairs", "of one patient", title="pairs by data set and split")
    sides = [found[f"dataset_{side}"] + " " + found[f"split_{side}"] for side in "ab"]
    for (one, other), group in found.groupby(sides):
        counts.add_row(escape(str(one)), escape(str(other)), str(len(group)), str(int(group["same_patient"].sum())))
    console.print(counts)
    listed = Table("first", "second", "correlation", "", title=f"the likest {min(shown, len(found))}")
    for row in found.head(shown).itertuples():
        how = ", ".join(name for name in ("mirrored", "inverted", "same_patient") if getattr(row, name))
        one, other = (f"{getattr(row, f'dataset_{side}')} {getattr(row, f'image_{side}')}" for side in "ab")
        listed.add_row(escape(one), escape(other), f"{row.correlation:.3f}", how.replace("_", " "))
    if shown:
        console.print(listed)

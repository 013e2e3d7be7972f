"""`cxrvl matrix`: trained on A, tested on B, for every pair of runs and data sets."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from cxrvl.commands.runs import run_store
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.evaluation.comparison import row_mean, row_scores
from cxrvl.evaluation.row_statistics import METRICS
from cxrvl.files import write_atomic
from cxrvl.runs.store import Run
from cxrvl.runs.transfer import config_on, predictions_on

COLUMNS = ("trained", "experiment", "runs", "tested", "split", "own", "images", "value", "low", "high")


def matrix(options: argparse.Namespace) -> None:
    """Compute what is missing and print the matrix; runs of one experiment that differ in their seed are one row.

    Raises:
        ConfigError: an unknown metric, or an evaluation that is not of its kind.
    """
    if options.metric not in METRICS:
        raise ConfigError(f"there is no metric '{options.metric}'{did_you_mean(options.metric, METRICS)}")
    store = run_store(options.runs)
    runs = [store.find(prefix) for prefix in options.run]
    columns = [shlex.split(words) for words in options.data]
    records = [
        record for rows in _rows(runs).values() for words in columns for record in [_record(rows, words, options)]
    ]
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    Console(width=None if sys.stdout.isatty() else 160).print(_table(frame, options))
    if options.out:
        text = frame.to_csv(index=False).encode()
        write_atomic(Path(options.out), lambda file: file.write(text))


def _rows(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Runs by experiment and by the split they were trained on, in the order given."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        name = str(run.config()["name"])
        found.setdefault((name, str(run.status().get("split_name", ""))), []).append(run)
    return found


def _record(runs: Sequence[Run], words: Sequence[str], options: argparse.Namespace) -> dict[str, object]:
    """One cell: the runs of a row on one data set."""
    found = [predictions_on(run, config_on(run, words, options.overrides), options.evaluation) for run in runs]
    frame = found[0].of_split(options.split)
    interval = row_mean(row_scores(found, options.metric, split=options.split)).interval
    return {
        "trained": str(runs[0].status().get("split_name", "")), "experiment": str(runs[0].config()["name"]),
        "runs": len(runs), "tested": " ".join(words), "split": found[0].split_name,
        "own": found[0].info["split_sha256"] == runs[0].status().get("split_sha256"),
        "images": len(frame[["dataset", "image"]].drop_duplicates()), "value": interval.estimate,
        "low": interval.low, "high": interval.high,
    }  # fmt: skip


def _table(frame: pd.DataFrame, options: argparse.Namespace) -> Table:
    """Runs down, data sets across; the data a run was trained on is marked."""
    table = Table(
        title=f"{options.metric} of {options.evaluation}, {options.split} split, 95 % intervals over patients and seeds",
        caption="* the data the run was trained on",
    )
    table.add_column("trained on")
    tested = list(dict.fromkeys(frame["tested"]))
    for name in tested:
        some = frame[frame["tested"] == name]
        table.add_column(f"{name}\n{some['images'].iloc[0]} images", justify="right")
    for (trained, experiment), rows in frame.groupby(["trained", "experiment"], sort=False):
        cells = {row["tested"]: _cell(row) for _, row in rows.iterrows()}
        table.add_row(f"{trained}\n{experiment}", *(cells[name] for name in tested))
    return table


def _cell(row: pd.Series) -> str:
    if np.isnan(row["value"]):
        return "undefined"
    own = "*" if row["own"] else ""
    between = "" if np.isnan(row["low"]) else f"\n[{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{own}{between}".replace("[", r"\[")

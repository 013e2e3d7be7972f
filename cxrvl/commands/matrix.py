"""`cxrvl matrix`: trained on A, tested on B, for every pair of runs and data sets."""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from cxrvl.commands.runs import run_store
from cxrvl.config.dotted import dotted
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.evaluation.comparison import row_mean, row_scores
from cxrvl.evaluation.row_statistics import METRICS
from cxrvl.files import write_atomic
from cxrvl.runs.differences import is_science
from cxrvl.runs.store import Run
from cxrvl.runs.transfer import config_on, evaluator_of, predictions_on

COLUMNS = (
    "trained", "experiment", "runs", "ids", "tested", "split", "own", "images", "pool", "value", "low", "high", "over",
    "undefined",
)  # fmt: skip
_SEED = re.compile(r"\bseed=\d+")


def matrix(options: argparse.Namespace) -> None:
    """Compute what is missing and print the matrix; runs that differ in nothing but their seed are one row.

    Raises:
        ConfigError: an unknown metric, an evaluation that is not of its kind, or a run that is named twice.
    """
    if options.metric not in METRICS:
        raise ConfigError(f"there is no metric '{options.metric}'{did_you_mean(options.metric, METRICS)}")
    store = run_store(options.runs)
    runs = [store.find(prefix) for prefix in options.run]
    for run in runs:
        if sum(other.run_id == run.run_id for other in runs) > 1:
            raise ConfigError(f"run {run.run_id} is named twice, and would count as two seeds; name it once")
    columns = [shlex.split(words) for words in options.data]
    records = [_record(rows, words, options) for rows in _rows(runs) for words in columns]
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    Console(width=None if sys.stdout.isatty() else 160).print(_table(frame, options))
    if options.out:
        text = frame.to_csv(index=False).encode()
        write_atomic(Path(options.out), lambda file: file.write(text))


def _rows(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs by all that made them but their seed, in the order given."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_but_for_the_seed(run), []).append(run)
    return list(found.values())


def _but_for_the_seed(run: Run) -> str:
    """What a run was trained on and how, as text; the seeds in it, also of the runs it started from, are left out."""
    config, status = run.config(), run.status()
    made = {
        key: value for key, value in dotted(config) if is_science(key) and key.rpartition(".")[2] != "seed"
    }  # fmt: skip
    about = [config["name"], status.get("split_name"), status.get("split_sha256"), made]
    return _SEED.sub("seed", json.dumps(about, sort_keys=True, default=str))


def _record(runs: Sequence[Run], words: Sequence[str], options: argparse.Namespace) -> dict[str, object]:
    """One cell: the runs of a row on one data set."""
    found, uncertain = [], {}
    for run in runs:
        config = config_on(run, words, options.overrides)
        evaluator = evaluator_of(run, config, options.evaluation)
        if (kind := METRICS[options.metric]) != _kind(evaluator):
            raise ConfigError(
                f"{options.metric} is read off predictions of kind '{kind}', and evaluation '{options.evaluation}' of run "
                f"{run.run_id} makes '{_kind(evaluator)}'; choose another of both"
            )
        uncertain = {"uncertain": evaluator["uncertain"]} if "uncertain" in evaluator else {}
        found.append(predictions_on(run, config, options.evaluation))
    frame = found[0].of_split(options.split)
    mean = row_mean(row_scores(found, options.metric, split=options.split, **uncertain))
    pools = sorted({int(size) for size in frame["pool"]}) if "pool" in frame else []
    return {
        "trained": str(runs[0].status().get("split_name", "")), "experiment": str(runs[0].config()["name"]),
        "runs": len(runs), "ids": " ".join(run.run_id for run in runs), "tested": " ".join(words),
        "split": found[0].split_name,
        "own": found[0].info["split_sha256"] == runs[0].status().get("split_sha256"),
        "images": len(frame[["dataset", "image"]].drop_duplicates()), "pool": " and ".join(map(str, pools)),
        "value": mean.interval.estimate, "low": mean.interval.low, "high": mean.interval.high,
        "over": "; ".join(mean.defined), "undefined": "; ".join(mean.undefined),
    }  # fmt: skip


def _kind(evaluator: dict[str, Any]) -> str:
    from hydra.utils import get_class

    return str(getattr(get_class(evaluator["_target_"]), "kind", ""))


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
        about = [f"{_all(some['images'])} images"]
        about += [f"pool of {_all(some['pool'])}"] if some["pool"].any() else []
        about += [f"mean over {_all(some['over'])}"] if some["over"].any() else []
        about += [f"undefined: {_all(some['undefined'])}"] if some["undefined"].any() else []
        table.add_column("\n".join([name or "(its own data)", *about]).replace("[", r"\["), justify="right")
    for (trained, experiment, ids), rows in frame.groupby(["trained", "experiment", "ids"], sort=False):
        cells = {row["tested"]: _cell(row) for _, row in rows.iterrows()}
        table.add_row(f"{trained}\n{experiment}\n{_runs(str(ids))}", *(cells[name] for name in tested))
    return table


def _all(values: "pd.Series[Any]") -> str:
    """What is said of a data set, once if it is the same for all rows."""
    return " or ".join(dict.fromkeys(str(value) for value in values))


def _runs(ids: str) -> str:
    names = ids.split()
    return f"run {names[0]}" if len(names) == 1 else f"{len(names)} seeds, {names[0]}, ..."


def _cell(row: pd.Series) -> str:
    if np.isnan(row["value"]):
        return "undefined"
    own = "*" if row["own"] else ""
    between = "" if np.isnan(row["low"]) else f"\n[{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{own}{between}".replace("[", r"\[")

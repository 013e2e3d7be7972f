"""Which predictions belong to a table's rows, do they fit together, and by which code were they made?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.predictions import Predictions, read_predictions
from cxrvl.evaluation.row_statistics import METRICS
from cxrvl.files import read_json, read_yaml
from cxrvl.tables.spec import LineSpec

Key = tuple[str, int]
"""A row's name and a seed."""


@dataclass(frozen=True)
class RunFiles:
    """Where one run's folder and predictions lie; ``predictions`` maps evaluation names to existing Parquet files."""

    folder: Path
    predictions: Mapping[str, Path]


@dataclass(frozen=True)
class CollectedRun:
    """One run of one row: its predictions by evaluation name, and the code it was computed by."""

    run_id: str
    predictions: Mapping[str, Predictions]
    commit: str


@dataclass(frozen=True)
class Collected:
    """All that is there for one line of a table; what is missing is said in ``warnings``, never filled in.

    split_name: what all runs were scored on: the line's split, or a part of it, such as "official (1,938 of 112,120 images)".
    """

    runs: Mapping[Key, CollectedRun]
    split_name: str
    warnings: tuple[str, ...]

    def of(self, row: str, evaluation: str) -> dict[int, Predictions]:
        """Predictions of one row and evaluation by seed, lowest seed first; only those that exist."""
        found = {seed: run for (name, seed), run in sorted(self.runs.items()) if name == row}
        return {seed: run.predictions[evaluation] for seed, run in found.items() if evaluation in run.predictions}


def collect(line: LineSpec, runs: Mapping[Key, RunFiles]) -> Collected:
    """Read and check the predictions of every run of a line.

    runs: (row, seed) -> files; rows or seeds that were not computed are simply absent.
    Raises ConfigError for a row, seed or evaluation the line does not have; RunError where the run's config has another
    seed; DataError for predictions of another kind, another split or a cut evaluation, none of which may enter a table.
    """
    read = {key: _read(line, key, files) for key, files in runs.items()}
    return Collected(read, _split_name(line, read), (*_missing(line, read), *_code(line, read)))


def _read(line: LineSpec, key: Key, files: RunFiles) -> CollectedRun:
    row, seed = key
    line.row(row)
    if seed not in line.seeds:
        raise ConfigError(f"line {line.name!r} has no seed {seed}; its seeds are {', '.join(map(str, line.seeds))}")
    config, environment = _config(files.folder), _environment(files.folder)
    if config.get("seed") != seed:
        raise RunError(
            f"run {files.folder.name} was given as seed {seed} of {row!r} but its config says {config.get('seed')!r}"
        )
    predictions = {}
    for name, path in files.predictions.items():
        if name not in line.evaluations:
            hint = did_you_mean(name, line.evaluations)
            raise ConfigError(f"line {line.name!r} uses no evaluation {name!r}{hint}; pass only those it names")
        predictions[name] = _checked(line, name, read_predictions(path), path)
    return CollectedRun(files.folder.name, predictions, _version(environment))


def _checked(line: LineSpec, name: str, predictions: Predictions, path: Path) -> Predictions:
    wanted = {METRICS[column.metric] for column in line.columns if column.evaluation == name}
    where = f"{path.parent.parent.name}/{path.name}"
    if wanted != {predictions.kind}:
        raise DataError(
            f"{where}: predictions of kind {predictions.kind!r}, but line {line.name!r} computes "
            f"{' and '.join(sorted(wanted))} metrics from evaluation {name!r}; correct the columns in table.toml"
        )
    if predictions.split_name != line.data_split and not predictions.split_name.startswith(f"{line.data_split} ("):
        raise DataError(
            f"{where}: scored on split {predictions.split_name!r}, but line {line.name!r} is about "
            f"{line.data_split!r}; numbers are never compared across splits: set data_split or the row's config"
        )
    if not predictions.complete:
        raise DataError(
            f"{where}: a deliberately cut evaluation (debugging), not a result; evaluate the run without limits"
        )
    predictions.of_split(line.score_split)
    return predictions


def _split_name(line: LineSpec, runs: Mapping[Key, CollectedRun]) -> str:
    """The one split all runs were scored on; DataError where some saw a part of it and others another."""
    names: dict[str, Key] = {}
    for key, run in sorted(runs.items()):
        for predictions in run.predictions.values():
            names.setdefault(predictions.split_name, key)
    if len(names) > 1:
        found = "; ".join(f"{name!r} (row {row!r} seed {seed})" for name, (row, seed) in names.items())
        raise DataError(
            f"line {line.name!r}: runs were scored on different splits: {found}; evaluate them on the same data"
        )
    return next(iter(names), line.data_split)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        raise RunError(f"run {folder.name} has no config.yaml; remove it (cxrvl runs rm {folder.name}) and train again")
    return dict(read_yaml(path))


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / "environment.json"
    if not path.is_file():
        raise RunError(
            f"run {folder.name} has no environment.json; remove it (cxrvl runs rm {folder.name}) and train again"
        )
    return dict(read_json(path))


def _version(environment: dict[str, Any]) -> str:
    """The code a run was computed by: commit, "+changes" where it was not clean; the package's version for a wheel."""
    commit = environment.get("commit")
    if commit:
        return str(commit)[:12] + ("+changes" if environment.get("diff") else "")
    return f"cxrvl {environment.get('packages', {}).get('cxrvl', 'of unknown version')}"


def _missing(line: LineSpec, runs: Mapping[Key, CollectedRun]) -> list[str]:
    warnings = []
    for row in line.rows:
        for evaluation in line.evaluations:
            there = [
                seed
                for seed in line.seeds
                if (row.name, seed) in runs and evaluation in runs[row.name, seed].predictions
            ]
            lacking = [str(seed) for seed in line.seeds if seed not in there]
            if lacking:
                what = "no seed computed" if not there else f"seed {', '.join(lacking)} missing"
                warnings.append(
                    f"{row.label}: {what} for evaluation {evaluation!r} ({len(there)} of {len(line.seeds)} seeds)."
                )
    return warnings


def _code(line: LineSpec, runs: Mapping[Key, CollectedRun]) -> list[str]:
    commits: dict[str, dict[str, list[str]]] = {}
    for (row, seed), run in sorted(runs.items()):
        commits.setdefault(run.commit, {}).setdefault(line.row(row).label, []).append(str(seed))
    if len(commits) > 1:
        who = {
            commit: ", ".join(f"{row} ({'/'.join(seeds)})" for row, seeds in rows.items())
            for commit, rows in commits.items()
        }
        parts = "; ".join(f"{commit}: {rows}" for commit, rows in who.items())
        return [
            f"The rows were computed by different code ({parts}); a difference may come from that; seeds in brackets."
        ]
    return []

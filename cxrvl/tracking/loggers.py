"""Which loggers watch a run? Its plain history always, others by config; all are cut where a run resumes."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from cxrvl.config.build import build
from cxrvl.errors import ConfigError
from cxrvl.tracking.history import append_row, read_history, rewind_history


class HistoryLogger(Logger):
    """Appends to `history.jsonl`; a resumed run first drops what it will log again.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)

    @property
    def name(self) -> str:
        """The logger's name."""
        return "history"

    @property
    def version(self) -> str:
        """The run's id."""
        return self.folder.name

    @rank_zero_only
    def start(self, step: int) -> None:
        """Drop everything at or after the step at which training begins or goes on."""
        rewind_history(self.folder, step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line; NaN is written as null."""
        append_row(self.folder, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: config.yaml holds them."""


class CSVLogger(Logger):
    """Keeps `history.csv` in the run's folder: a column per name, a row per logged step, for spreadsheets and R.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._columns: list[str] = []

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "history.csv"

    @property
    def name(self) -> str:
        """The logger's name."""
        return "csv"

    @property
    def version(self) -> str:
        """The run's id."""
        return self.folder.name

    @rank_zero_only
    def start(self, step: int) -> None:
        """Write the file anew from the history, which a resumed run has already cut."""
        self._write(read_history(self.folder))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row; a name that was not logged before becomes a column of the whole file."""
        row = {"step": step, **{k: float(v) for k, v in metrics.items()}}
        if not self._columns or set(row) - set(self._columns):
            with self.path.open(newline="") as file:
                self._write([*csv.DictReader(file), row])
            return
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: config.yaml holds them."""

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._columns = list(dict.fromkeys(["step", *self._columns, *(name for row in rows for name in row)]))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def build_loggers(config: dict[str, Any], folder: Path) -> list[Logger]:
    """Return the plain history of a run and the loggers its config names; nothing is opened or written yet.

    A logger is built late: a partial target of the config is handed the run's folder here.

    Raises:
        ConfigError: a target that is no logger, or that lacks a package.
    """
    loggers: list[Logger] = [HistoryLogger(folder)]
    for name, node in config["logger"].items():
        built = build(node)
        logger = built(folder=folder) if node.get("_partial_") else built
        if not isinstance(logger, Logger):
            raise ConfigError(f"'logger.{name}' builds a {type(logger).__name__}; expected a Lightning Logger")
        loggers.append(logger)
    return loggers

"""When do reports of an impression alone come into training: at once, later, or never?"""

from typing import Any

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.modules.loading import TrainOrder
from cxrvl.data.reports.sections import parse_report
from cxrvl.data.reports.table import ReportTable
from cxrvl.errors import ConfigError, DataError

IMPRESSION_ONLY = ("keep", "leave_out", "late")
_STREAM = 1


def checked_policy(policy: str, epochs: int) -> str:
    """Return a value of the option `impression_only`.

    Raises:
        ConfigError: it is none, or `late` without epochs, or epochs without `late`.
    """
    if policy not in IMPRESSION_ONLY:
        raise ConfigError(
            f"data.impression_only is '{policy}'{did_you_mean(policy, IMPRESSION_ONLY)}; expected one of {IMPRESSION_ONLY}"
        )
    if (policy == "late") != (epochs > 0):
        raise ConfigError(
            f"data.impression_only={policy} with data.late_epochs={epochs}; expected late with the epochs over which they "
            "come in, and 0 otherwise"
        )
    return policy


def impression_alone(table: ReportTable) -> np.ndarray:
    """Return which reports have an impression and no findings, (N,) bool; an undivided text is parsed for headers."""
    columns = {name: table.frame[name].tolist() for name in table.sections}
    alone = np.zeros(len(table.frame), dtype=bool)
    for row in range(len(alone)):
        given = {name: _text(values[row]) for name, values in columns.items()}
        if given.get("report") and not given.get("findings") and not given.get("impression"):
            parsed = parse_report(given["report"])
            given |= {name: parsed.section(name) for name in ("findings", "impression")} if parsed.sectioned else {}
        alone[row] = bool(given.get("impression")) and not given.get("findings")
    return alone


class LateOrder(TrainOrder):
    """An order in which some rows come in over the first epochs, and others stand in for them until then.

    In epoch e (from 0) a share min(1, e / epochs) of their places is theirs; the length of an epoch stays what it is, so
    that schedules that count steps mean the same.

    Args:
        late: which rows of the table come in late, (N,) bool.
        epochs: over how many.
        options: of `TrainOrder`.

    Raises:
        DataError: all training rows are late.
    """

    def __init__(self, *args: Any, late: np.ndarray, epochs: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.late, self.epochs = late, epochs
        if late[self.rows].all():
            raise DataError(
                "all training reports are an impression alone, so none can come before them; set data.impression_only=keep"
            )

    def drawn(self) -> np.ndarray:
        """Return the rows of this epoch in their order, (samples,) int64."""
        rows = super().drawn()
        generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch]).jumped(_STREAM))
        waiting = self.late[rows] & (generator.random(len(rows)) >= self.epoch / self.epochs)
        early = self.rows[~self.late[self.rows]]
        return np.where(waiting, generator.choice(early, len(rows)), rows)


def left_out(policy: str, alone: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the training rows (n,) that a policy keeps; alone: which of them have an impression alone, (n,) bool.

    Raises:
        DataError: it keeps none.
    """
    kept = rows[~alone] if policy == "leave_out" else rows
    if len(rows) and not len(kept):
        raise DataError(
            f"all {len(rows)} training reports are an impression alone, and data.impression_only=leave_out keeps none; set "
            "it to keep"
        )
    return kept


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value).strip()

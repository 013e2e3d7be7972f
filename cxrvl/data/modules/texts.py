"""How do the texts of a report table get into batches, and what becomes of reports that say nothing?"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cxrvl.data.checks import listing
from cxrvl.data.modules.base import Batch
from cxrvl.data.reports.policy import JoinedText
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.reports.texts import READING_KEYS, Reading, Texts
from cxrvl.data.sources.mixture import by_name
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import ConfigError, DataError

log = logging.getLogger(__name__)
EMPTY = ("error", "skip")
ABSENT = -1
TextOptions = Mapping[str, Mapping[str, Any]]


class TextRows:
    """The texts of a report table as parts of batches.

    Args:
        table: one row per report.
        text: data set, or `default` -> {policy, instruction, cleaning, style, variants}, see `Reading`.
        empty: error | skip: what becomes of reports without anything that the policy asks for.
        seed: of the styles.
        least_words: reports of fewer words count as having nothing.

    Raises:
        ConfigError: options that cannot be right.
    """

    def __init__(
        self, table: ReportTable, text: TextOptions | None, empty: str, seed: int, least_words: int = 1
    ) -> None:
        names = [str(name) for name in table.frame["dataset"].unique()]
        options = by_name(text or {}, names, "data.text", READING_KEYS)
        self.texts = Texts(table, {name: Reading(**given) for name, given in options.items()}, seed)
        self.skip, self.table = checked_empty(empty) == "skip", table
        if least_words < 1:
            raise ConfigError(f"data.least_words is {least_words}; expected at least 1")
        self.least_words = least_words
        self.is_empty = self.texts.empty(least_words)
        self._told: set[str] = set()

    def with_text(self, rows: np.ndarray, reports: np.ndarray, split: str) -> np.ndarray:
        """Return the rows (n,) of a split whose reports (n,) have a text.

        Raises:
            DataError: some have none, and `empty` is error; or all have none.
        """
        kept = ~self.is_empty[reports]
        count = int((~kept).sum())
        if not count:
            return rows
        without = dict.fromkeys(reports[~kept].tolist())
        first = next(iter(without))
        dataset = self.table.frame["dataset"].iloc[first]
        what = "nothing" if self.least_words == 1 else f"fewer than {self.least_words} words"
        found = (
            f"{count} of {len(rows)} rows of split {split!r} have {what} of what the section policy "
            f"{self.texts.readings[first].policy!r} asks for"
        )
        if not self.skip or count == len(rows):
            raise DataError(
                f"{found}: studies {listing([repr(self.table.frame['study'].iloc[row]) for row in without])} of {dataset}; "
                f"choose another policy (data.text.{dataset}.policy), or leave such reports out with data.empty=skip"
            )
        if split not in self._told:
            self._told.add(split)
            log.warning("%s; they are left out, as data.empty=skip says", found)
        return rows[kept]

    def batch(self, reports: np.ndarray, epoch: int | None) -> Batch:
        """Return the texts of report rows (B,) in an epoch, see `text_batch`."""
        return text_batch([self.texts.compose(int(row), epoch) for row in reports])


def checked_empty(empty: str) -> str:
    """Return a value of the option `empty`; ConfigError where it is none."""
    if empty not in EMPTY:
        raise ConfigError(f"data.empty is {empty!r}; expected {' or '.join(EMPTY)}")
    return empty


def text_batch(joined: Sequence[JoinedText]) -> Batch:
    """Lay out texts and the places of their parts.

    `text` list of B str; `instruction`, `body` (B, 2) int64 characters [start, end) of the text; `parts`
    (B, 7, 2) int64 the same of each of `cxrvl.data.studies.SECTIONS`, -1 where the text has no such section.
    """
    parts = np.full((len(joined), len(SECTIONS), 2), ABSENT, dtype=np.int64)
    for row, one in enumerate(joined):
        for name, span in one.parts.items():
            parts[row, SECTIONS.index(name)] = span
    return {
        "text": [one.text for one in joined],
        "instruction": torch.tensor([one.instruction for one in joined], dtype=torch.int64).reshape(-1, 2),
        "body": torch.tensor([one.body for one in joined], dtype=torch.int64).reshape(-1, 2),
        "parts": torch.from_numpy(parts),
    }

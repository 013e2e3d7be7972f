"""What is a finished table, before anything is rounded or printed?"""

from dataclasses import dataclass

import pandas as pd

from cxrvl.tables.spec import Column, LineSpec, TableSpec

FRAME_COLUMNS = (
    "table", "line", "row", "row_label", "level", "group", "metric", "measure", "title",
    "mean", "sd", "low", "high", "n_seeds", "seeds_asked", "classes_entered", "classes_total",
    "baseline", "delta", "delta_low", "delta_high", "p_raw", "p_holm",
    "published", "published_sd", "published_split", "published_status", "published_source", "difference",
    "difference_note", "data_split", "score_split", "n_images", "n_patients", "synthetic",
)  # fmt: skip
"""Columns of `TableResult.frame`; metrics, differences and published values are fractions in [0, 1], not percent."""

COMPARISON_COLUMNS = (
    "table", "line", "row", "against", "group", "metric", "measure", "title", "delta", "low", "high", "p_raw", "p_holm",
)  # fmt: skip

SEED_COLUMNS = (
    "table", "line", "row", "seed", "metric", "measure", "label", "value", "low", "high", "interval_method", "positives",
    "negatives", "run", "commit",
)  # fmt: skip

DELONG_COLUMNS = (
    "table", "line", "row", "against", "seed", "measure", "label", "delta", "low", "high", "p_raw", "p_holm", "method",
)  # fmt: skip

OTHER_SPLIT, OTHER_CLASSES = "other split", "other classes"
"""Why there is no difference to a published number."""


@dataclass(frozen=True)
class TableResult:
    """The numbers of one line of a table, with everything a reader needs to judge them.

    frame: one row per (experiment row, column) with ``level`` "group", then one per (experiment row, metric, label)
        with ``level`` "label" (no tests there); columns `FRAME_COLUMNS`. A number that could not be computed is NaN.
    comparisons: one row per tested difference, columns `COMPARISON_COLUMNS`; Holm's correction runs over all of them.
    seeds: one row per (experiment row, seed, metric, label), columns `SEED_COLUMNS`; ``low``/``high`` are the interval
        of that single run.
    delong: one row per (comparison, seed, tested AUROC measure, label), columns `DELONG_COLUMNS`: the paired test of two
        single runs (DeLong; with patients as clusters where they have several images), Holm's correction per seed.
    n_images, n_patients: of the scored split, identical for all rows by check; 0 when nothing was computed yet.
    warnings: sentences a reader must see beside the numbers.
    notes: sentences that the predictions themselves give, such as what chance would be.
    """

    table: TableSpec
    line: LineSpec
    frame: pd.DataFrame
    comparisons: pd.DataFrame
    seeds: pd.DataFrame
    delong: pd.DataFrame
    n_images: int
    n_patients: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def cell(self, row: str, column: Column) -> pd.Series:
        """The record of one experiment row in one column."""
        frame = self.frame
        hit = (frame["level"] == "group") & (frame["row"] == row)
        hit &= (frame["measure"] == column.measure.key) & (frame["group"] == column.group)
        return frame[hit].iloc[0]

    @property
    def labels(self) -> pd.DataFrame:
        """The per-label part of the frame."""
        return self.frame[self.frame["level"] == "label"]

"""What did every single run score on every label, with its own interval; and do two single runs differ?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.evaluation.comparison import RowScores, compare
from cxrvl.evaluation.labels import label_scores, patient_numbers
from cxrvl.evaluation.predictions import TEXTS
from cxrvl.evaluation.robustness_metrics import UNTOUCHED, by_condition
from cxrvl.evaluation.row_statistics import METRICS
from cxrvl.evaluation.statistics.bootstrap import percentile_interval
from cxrvl.evaluation.statistics.delong import delong
from cxrvl.evaluation.statistics.multiple import holm
from cxrvl.tables.collect import Collected
from cxrvl.tables.result import DELONG_COLUMNS, SEED_COLUMNS
from cxrvl.tables.spec import LineSpec, Measure, TableSpec


def run_records(
    table: TableSpec, line: LineSpec, row: str, measure: Measure, scored: RowScores, collected: Collected
) -> Iterator[dict[str, Any]]:
    """One record (columns `SEED_COLUMNS`) per seed and label of a row.

    The interval of an AUROC is DeLong's, or Obuchowski's where patients have several images; that of other metrics
    consists of the percentiles of the bootstrap over patients.
    """
    predictions = collected.of(row, measure.evaluation)
    for position, seed in enumerate(scored.seeds):
        run = collected.runs[row, seed]
        frame = measure.selection.images(predictions[seed].of_split(line.score_split))
        numbers, _ = patient_numbers(frame)
        for place, label in enumerate(scored.labels):
            value = float(scored.estimates[position, place])
            positives, negatives = _sides(frame, METRICS[measure.metric], label, table.uncertain)
            if measure.metric == "auroc":
                known = label_scores(frame, label, numbers, table.uncertain)
                exact = delong(known.logits, known.targets, known.patients)
                low, high, method = exact.low, exact.high, exact.method
            else:
                resampled = percentile_interval(value, scored.replicates[position, place])
                low, high, method = resampled.low, resampled.high, "bootstrap over patients"
            method = "" if np.isnan(low) else method
            about = (table.name, line.name, row, seed, measure.metric, measure.key, label)
            values = (value, low, high, method, positives, negatives, run.run_id, run.commit)
            yield dict(zip(SEED_COLUMNS, (*about, *values), strict=True))


def _sides(frame: pd.DataFrame, kind: str, label: str, uncertain: str) -> tuple[int, int]:
    """How many images count as positive and as negative of one label; of marks, lesions and normal images; of texts, all."""
    if kind in ("marks", "attention", *TEXTS):
        mine = frame[frame["label"] == label]
        if kind != "marks":
            return len(mine[["dataset", "image"]].drop_duplicates()), 0
        normal = (mine["entry"] == "mark") & (mine["number"] == 0) & (mine["target"] == 0)
        return int((mine["entry"] == "lesion").sum()), int(normal.sum())
    if kind == "reports":
        claimed = int(frame[f"target/{label}"].isin([1.0, -1.0]).sum())
        return claimed, len(frame) - claimed
    shown = by_condition(frame)[UNTOUCHED] if kind == "robustness" else frame
    targets = label_scores(shown, label, patient_numbers(shown)[0], uncertain).targets
    return int(targets.sum()), int(len(targets) - targets.sum())


def delong_records(table: TableSpec, line: LineSpec, collected: Collected) -> list[dict[str, Any]]:
    """One record (columns `DELONG_COLUMNS`) per comparison, seed both rows have, tested AUROC measure, and label."""
    measures = dict.fromkeys(column.measure for column in line.columns if column.tested and column.metric == "auroc")
    records: list[dict[str, Any]] = []
    for measure in measures:
        for row, against in line.comparisons:
            ours, theirs = (collected.of(name, measure.evaluation) for name in (row, against))
            for seed in (seed for seed in ours if seed in theirs):
                tests = compare(
                    ours[seed], theirs[seed],
                    split=line.score_split, uncertain=table.uncertain, selection=measure.selection,
                )  # fmt: skip
                for label, test in tests.items():
                    about = (table.name, line.name, row, against, seed, measure.key, label)
                    numbers = (test.difference, test.low, test.high, test.p, np.nan, test.method)
                    records.append(dict(zip(DELONG_COLUMNS, (*about, *numbers), strict=True)))
    for seed in {record["seed"] for record in records}:
        own = [record for record in records if record["seed"] == seed]
        for record, adjusted in zip(own, holm([record["p_raw"] for record in own]), strict=True):
            record["p_holm"] = float(adjusted)
    return records

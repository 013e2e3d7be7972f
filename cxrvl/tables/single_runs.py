"""What did every single run score on every label, with the interval of that run alone?"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cxrvl.evaluation.comparison import RowScores
from cxrvl.evaluation.labels import label_scores, patient_numbers
from cxrvl.evaluation.statistics.bootstrap import percentile_interval
from cxrvl.evaluation.statistics.delong import delong
from cxrvl.tables.collect import Collected
from cxrvl.tables.result import SEED_COLUMNS
from cxrvl.tables.spec import LineSpec, TableSpec


def run_records(
    table: TableSpec, line: LineSpec, row: str, scored: RowScores, collected: Collected
) -> Iterator[dict[str, Any]]:
    """One record (columns `SEED_COLUMNS`) per seed and label of a row.

    The interval of an AUROC is DeLong's, or Obuchowski's where patients have several images; that of other metrics
    consists of the percentiles of the bootstrap over patients.
    """
    evaluation = next(column.evaluation for column in line.columns if column.metric == scored.metric)
    predictions = collected.of(row, evaluation)
    for position, seed in enumerate(scored.seeds):
        run = collected.runs[row, seed]
        frame = predictions[seed].of_split(line.score_split)
        numbers, _ = patient_numbers(frame)
        for place, label in enumerate(scored.labels):
            value = float(scored.estimates[position, place])
            if scored.metric == "auroc":
                known = label_scores(frame, label, numbers, table.uncertain)
                exact = delong(known.logits, known.targets, known.patients)
                low, high, method = exact.low, exact.high, exact.method
                positives = int(known.targets.sum())
                negatives = len(known.targets) - positives
            else:
                resampled = percentile_interval(value, scored.replicates[position, place])
                low, high, method = resampled.low, resampled.high, "bootstrap over patients"
                mine = frame[frame["label"] == label]
                positives = int((mine["entry"] == "lesion").sum())
                negatives = int(((mine["entry"] == "mark") & (mine["number"] == 0) & (mine["target"] == 0)).sum())
            method = "" if np.isnan(low) else method
            values = (
                table.name,
                line.name,
                row,
                seed,
                scored.metric,
                label,
                value,
                low,
                high,
                method,
                positives,
                negatives,
            )
            yield dict(zip(SEED_COLUMNS, (*values, run.run_id, run.commit), strict=True))

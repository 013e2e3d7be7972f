"""How do the rows of a table compare: means over seeds, intervals, paired tests, and published numbers beside them?"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.errors import DataError
from cxrvl.evaluation.comparison import RowScores, row_difference, row_mean, row_scores
from cxrvl.evaluation.localization_metrics import MarksOptions
from cxrvl.evaluation.row_statistics import METRICS
from cxrvl.evaluation.statistics.multiple import holm
from cxrvl.tables.collect import Collected
from cxrvl.tables.published import PublishedNumber
from cxrvl.tables.result import (
    COMPARISON_COLUMNS,
    DELONG_COLUMNS,
    FRAME_COLUMNS,
    OTHER_CLASSES,
    OTHER_SPLIT,
    SEED_COLUMNS,
    TableResult,
)
from cxrvl.tables.single_runs import delong_records, run_records
from cxrvl.tables.spec import ALL, Column, LineSpec, Measure, TableSpec

Scores = Mapping[tuple[str, Measure], RowScores]
"""(row, measure) -> its numbers; rows without predictions are absent"""
_MANY_UNDEFINED = 0.05


def compare(table: TableSpec, line: LineSpec, collected: Collected, *, seed: int = 0) -> TableResult:
    """Compute every number of a line from its predictions.

    Per label and run: the metric with its own interval (DeLong or Obuchowski for AUROC). Means over labels and row
    differences: paired bootstrap over patients and seeds, the same draws for all rows; Holm's correction over all
    comparisons of tested columns. A label without positives or without negatives is left out of a mean, and counted.
    Published numbers of another split, or over other classes, are shown without a difference.

    seed: of the bootstrap. Raises DataError where rows were not scored on identical images and targets, or where a
    group names a label the predictions lack.
    """
    # A part of a split has a name of its own, under which no published number is compared.
    line = replace(line, data_split=collected.split_name)
    scores = {
        (row.name, measure): _row(table, line, row.name, measure, collected, seed)
        for measure in line.measures
        for row in line.rows
        if collected.of(row.name, measure.evaluation)
    }
    for measure in line.measures:
        _check_identical(line, measure, scores)
    tests = _tests(table, line, scores)
    records = [
        _column_record(table, line, row.name, column, scores, tests) for column in line.columns for row in line.rows
    ]
    records += [
        _label_record(table, line, row.name, measure, label, scores)
        for measure in line.measures
        for label in _labels(line, measure, scores)
        for row in line.rows
    ]
    first = next(iter(scores.values()), None)
    singles = [one for (row, measure), found in scores.items()
               for one in run_records(table, line, row, measure, found, collected)]  # fmt: skip
    return TableResult(
        table=table,
        line=line,
        frame=pd.DataFrame(records, columns=list(FRAME_COLUMNS)),
        comparisons=pd.DataFrame(tests, columns=list(COMPARISON_COLUMNS)),
        seeds=pd.DataFrame(singles, columns=list(SEED_COLUMNS)),
        delong=pd.DataFrame(delong_records(table, line, collected), columns=list(DELONG_COLUMNS)),
        n_images=0 if first is None else len(first.images[["dataset", "image"]].drop_duplicates()),
        n_patients=0 if first is None else first.patients,
        warnings=(*collected.warnings, *_warnings(line, scores)),
        notes=tuple(_chance_notes(line, collected)),
    )


def _row(table: TableSpec, line: LineSpec, row: str, measure: Measure, collected: Collected, seed: int) -> RowScores:
    predictions = collected.of(row, measure.evaluation)
    try:
        return row_scores(
            list(predictions.values()),
            measure.metric,
            seeds=list(predictions),
            split=line.score_split,
            uncertain=table.uncertain,
            options=MarksOptions(uncertain=table.uncertain),
            selection=measure.selection,
            bootstrap=table.resamples,
            bootstrap_seed=seed,
        )
    except DataError as error:
        raise DataError(f"line {line.name!r}, row {row!r}, evaluation {measure.evaluation!r}: {error}") from error


def _check_identical(line: LineSpec, measure: Measure, scores: Scores) -> None:
    """Every row of a measure was scored on the same images, patients, targets and boxes; DataError naming two rows."""
    rows = [row.name for row in line.rows if (row.name, measure) in scores]
    for row in rows[1:]:
        one, other = scores[rows[0], measure], scores[row, measure]
        if one.labels == other.labels and one.images.equals(other.images):
            continue
        strange = sorted(set(one.images["image"]) ^ set(other.images["image"]))
        what = f"{len(strange)} images only in one of them, the first {strange[0]!r}" if strange else (
            "the same images, but other labels, patients, targets or boxes"
        )  # fmt: skip
        raise DataError(
            f"line {line.name!r}, {measure.key}: rows {rows[0]!r} and {row!r} were not scored on identical data: {what}; "
            "a table compares identical images only, so evaluate both rows on the same study table"
        )


def _labels(line: LineSpec, measure: Measure, scores: Scores) -> tuple[str, ...]:
    """All labels a measure was scored on; none where no row has been computed."""
    return next((scores[row.name, measure].labels for row in line.rows if (row.name, measure) in scores), ())


def _members(table: TableSpec, line: LineSpec, column: Column, scores: Scores) -> tuple[str, ...]:
    """The labels of a column's group; DataError when the predictions lack one."""
    labels = _labels(line, column.measure, scores)
    if column.group == ALL or not labels:
        return labels
    unknown = [label for label in table.groups[column.group] if label not in labels]
    if unknown:
        raise DataError(
            f"{table.name}/table.toml: group {column.group!r} names {unknown}, which evaluation "
            f"{column.evaluation!r} does not score; its labels are {list(labels)}"
        )
    return table.groups[column.group]


def _tests(table: TableSpec, line: LineSpec, scores: Scores) -> list[dict[str, Any]]:
    """One record per tested column and comparison, Holm over all of them; NaN where a row is missing."""
    tests = []
    for column in line.columns:
        members = _members(table, line, column, scores)
        for row, against in line.comparisons if column.tested else ():
            test: dict[str, Any] = dict.fromkeys(COMPARISON_COLUMNS, np.nan)
            test |= {"table": table.name, "line": line.name, "row": row, "against": against}
            test |= {
                "group": column.group,
                "metric": column.metric,
                "measure": column.measure.key,
                "title": column.title,
            }
            pair = [scores.get((name, column.measure)) for name in (row, against)]
            if pair[0] is not None and pair[1] is not None:
                found = row_difference(pair[0], pair[1], members)
                test |= {"delta": found.difference, "low": found.low, "high": found.high, "p_raw": found.p}
            tests.append(test)
    for test, adjusted in zip(tests, holm([test["p_raw"] for test in tests]), strict=True):
        test["p_holm"] = float(adjusted)
    return tests


def _column_record(
    table: TableSpec, line: LineSpec, row: str, column: Column, scores: Scores, tests: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of one row in one column: its mean, and how it differs from the baseline."""
    members = _members(table, line, column, scores)
    record = _record(table, line, row, column.measure, column.group, members, scores)
    record |= {"level": "group", "title": column.title}
    pair = [scores.get((name, column.measure)) for name in (row, line.baseline)]
    if row != line.baseline and pair[0] is not None and pair[1] is not None:
        found = row_difference(pair[0], pair[1], members)
        record |= {"delta": found.difference, "delta_low": found.low, "delta_high": found.high}
    mine = (row, line.baseline, column.measure.key, column.group)
    for test in tests:
        if (test["row"], test["against"], test["measure"], test["group"]) == mine:
            record |= {"p_raw": test["p_raw"], "p_holm": test["p_holm"]}
    if line.show_published and (number := table.published_number(line, row, column)):
        record |= _beside(number, column.published or line.data_split, record)
    return record


def _label_record(
    table: TableSpec, line: LineSpec, row: str, measure: Measure, label: str, scores: Scores
) -> dict[str, Any]:
    """The record of one row for a label; what was published stands beside the first measure of its metric."""
    record = _record(table, line, row, measure, label, (label,), scores)
    first = next((one for one in line.measures if one.metric == measure.metric and not one.selection), None)
    if line.show_published and measure == first and (number := table.published.get(row, label, measure.metric)):
        record |= _beside(number, line.data_split, record)
    return record


def _record(
    table: TableSpec, line: LineSpec, row: str, measure: Measure, group: str, members: tuple[str, ...], scores: Scores
) -> dict[str, Any]:
    """The record of one row for a label or a group of labels, without its tests and what was published."""
    record: dict[str, Any] = dict.fromkeys(FRAME_COLUMNS, np.nan)
    record |= {"table": table.name, "line": line.name, "row": row, "row_label": line.row(row).label, "level": "label"}
    record |= {"group": group, "metric": measure.metric, "measure": measure.key, "title": ""}
    record |= {"baseline": line.baseline, "difference_note": ""}
    record |= {"data_split": line.data_split, "score_split": line.score_split, "synthetic": table.synthetic}
    record |= {"n_seeds": 0, "seeds_asked": len(line.seeds), "classes_entered": 0, "classes_total": len(members)}
    if (scored := scores.get((row, measure))) is not None:
        mean = row_mean(scored, members)
        record |= {"mean": mean.interval.estimate, "sd": mean.sd}
        record |= {"low": mean.interval.low, "high": mean.interval.high}
        record |= {"n_seeds": len(scored.seeds), "classes_entered": len(mean.defined)}
        images = scored.images[["dataset", "image"]].drop_duplicates()
        record |= {"n_images": len(images), "n_patients": scored.patients}
    return record


def _beside(number: PublishedNumber, split: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The published number, and the difference to it only where split and classes are the same."""
    sd = np.nan if number.sd is None else number.sd
    found: dict[str, Any] = {"published": number.value, "published_sd": sd, "published_split": number.split}
    found |= {"published_status": number.status, "published_source": number.source}
    if number.split != split:
        return found | {"difference_note": OTHER_SPLIT}
    if record["n_seeds"] and record["classes_entered"] != record["classes_total"]:
        return found | {"difference_note": OTHER_CLASSES}
    return found | {"difference": record["mean"] - number.value}


def _chance_notes(line: LineSpec, collected: Collected) -> Iterable[str]:
    """What attention spread evenly would put into the boxes: the number to read the columns of attention by."""
    for measure in line.measures:
        if METRICS[measure.metric] != "attention":
            continue
        found = [p for row in line.rows for p in collected.of(row.name, measure.evaluation).values()][:1]
        for predictions in found:
            frame = measure.selection.images(predictions.of_split(line.score_split))
            first = frame.drop_duplicates(["dataset", "image", "label"])
            chance = first.groupby("label")["chance"].mean().mean()
            yield f"Attention in boxes: the boxes cover {100 * chance:.2f} % of their images; even attention gives that."


def _why(measure: Measure) -> str:
    return "no box" if METRICS[measure.metric] == "attention" else "a side without images"


def _warnings(line: LineSpec, scores: Scores) -> Iterable[str]:
    for measure in line.measures:
        rows = [scored for (_, name), scored in scores.items() if name == measure]
        gone = [label for place, label in enumerate(_labels(line, measure, scores))
                if any(np.isnan(scored.estimates[:, place]).any() for scored in rows)]  # fmt: skip
        if gone:
            yield f"{measure.words} does not exist for {', '.join(gone)} ({_why(measure)}): left out of means."
        rare = [label for place, label in enumerate(_labels(line, measure, scores)) if label not in gone
                and max(np.isnan(scored.replicates[:, place]).mean() for scored in rows) > _MANY_UNDEFINED]  # fmt: skip
        if rare:
            yield f"{measure.words} of {', '.join(rare)}: so rare that more than 5 % of the resamples drew none."
    if any(len(scored.seeds) == 1 for scored in scores.values()):
        yield "Some rows have one seed: their intervals and tests hold for that training run, not for the method."

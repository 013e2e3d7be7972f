"""Which number does a column of a table hold, of which images, and how does it vary with the patients drawn?"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import DataError
from cxrvl.evaluation.attention_metrics import LabelAttention
from cxrvl.evaluation.labels import label_scores, patient_numbers
from cxrvl.evaluation.localization_metrics import MarksOptions, label_marks
from cxrvl.evaluation.operating import OperatingPoint, shares
from cxrvl.evaluation.predictions import TEXTS, Predictions
from cxrvl.evaluation.report_metrics import REPORT_METRICS, report_statistics
from cxrvl.evaluation.robustness_metrics import CLEAN, UNTOUCHED, by_condition
from cxrvl.evaluation.statistics.auroc import RankedScores
from cxrvl.evaluation.statistics.bootstrap import Statistic
from cxrvl.evaluation.text_metrics import TEXT_METRICS, text_statistics

METRICS = {
    "auroc": "findings",
    "auprc": "findings",
    "youden_sensitivity": "findings",
    "youden_specificity": "findings",
    "specificity_at_90_sensitivity": "findings",
    "sensitivity_at_90_specificity": "findings",
    "jafroc": "marks",
    "pointing_game": "marks",
    "corrupted_auroc": "robustness",
    "attention_in_box": "attention",
    **TEXT_METRICS,
    **REPORT_METRICS,
}
"""Metric of a row -> kind of the predictions it is computed from; all but those of `SIGNED` lie in [0, 1]."""
OPERATING = {
    "youden_sensitivity": ("sensitivity", OperatingPoint()),
    "youden_specificity": ("specificity", OperatingPoint()),
    "specificity_at_90_sensitivity": ("specificity", OperatingPoint("sensitivity", 0.9)),
    "sensitivity_at_90_specificity": ("sensitivity", OperatingPoint("specificity", 0.9)),
}
"""Metric -> the share, and the rule by which its threshold is fixed on another split."""


@dataclass(frozen=True)
class Selection:
    """Which rows of the predictions count: of some data sets, of one corruption, of one severity; nothing set = all.

    Without a corruption a robustness file stands for the mean over all of them; "clean" is none.
    """

    datasets: tuple[str, ...] = ()
    corruption: str = ""
    severity: int = 0

    def __bool__(self) -> bool:
        return self != Selection()

    def images(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the data sets chosen; DataError naming one that has no row."""
        there = frame["dataset"].unique().tolist()
        for name in self.datasets:
            if name not in there:
                raise DataError(
                    f"no scored image is of data set {name!r}{did_you_mean(name, there)}; there are {there}"
                )
        return frame[frame["dataset"].isin(self.datasets)].reset_index(drop=True) if self.datasets else frame

    def conditions(self, frame: pd.DataFrame) -> list[pd.DataFrame]:
        """The rows of each condition chosen, images in the same order; DataError naming one that was not scored."""
        parts = by_condition(frame)
        chosen = [
            part for (name, severity), part in parts.items()
            if (name == self.corruption or (not self.corruption and name != CLEAN)) and self.severity in (0, severity)
        ]  # fmt: skip
        if not chosen:
            names = list(dict.fromkeys(name for name, _ in parts))
            raise DataError(
                f"no image was scored under corruption {self.corruption or 'any'!r}{did_you_mean(self.corruption, names)} "
                f"at severity {self.severity or 'any'}; there are {', '.join(names)}"
            )
        return chosen


@dataclass(frozen=True)
class Scoring:
    """How rows are scored beyond the metric's name.

    split: scored. threshold_split: where the thresholds of operating points are fixed. uncertain: what uncertain targets
    count as in findings; in reports only zeros is heeded, else they are ones. marks: hit rule and uncertain policy of marks.
    """

    split: str = "test"
    threshold_split: str = "val"
    uncertain: str = "ignore"
    marks: MarksOptions = field(default_factory=MarksOptions)
    selection: Selection = field(default_factory=Selection)

    def frame(self, predictions: Predictions) -> pd.DataFrame:
        """The rows scored."""
        return self.selection.images(predictions.of_split(self.split))


def scored_images(predictions: Predictions, metric: str, scoring: Scoring, labels: Sequence[str]) -> pd.DataFrame:
    """Keys, patients, targets (and lesions) of what was scored, in the order of the file, for comparing files.

    Raises:
        DataError: the kind of predictions does not hold the metric, or lacks a label.
    """
    missing = [label for label in labels if label not in predictions.labels]
    if predictions.kind != METRICS[metric] or missing:
        raise DataError(f"{metric} needs predictions of kind {METRICS[metric]!r} with the labels {list(labels)}; found "
                        f"kind {predictions.kind!r}, missing labels {missing}")  # fmt: skip
    frame, columns = scoring.frame(predictions), ["dataset", "image", "patient"]
    if predictions.kind == "robustness":
        frame = by_condition(frame)[UNTOUCHED]
    if predictions.kind in ("findings", "robustness"):
        return frame[columns + [f"target/{label}" for label in labels]]
    if predictions.kind in TEXTS:
        frame = frame[frame["label"].isin(list(labels))]
        return frame[[*columns, *TEXTS[predictions.kind][0]]].reset_index(drop=True)
    if predictions.kind == "reports":
        return frame[[*columns, "text", *(f"target/{label}" for label in labels)]]
    if predictions.kind == "attention":
        return frame[frame["label"].isin(list(labels))][[*columns, "label"]].drop_duplicates().reset_index(drop=True)
    truth = frame[((frame["entry"] == "lesion") | (frame["number"] == 0)) & frame["label"].isin(list(labels))]
    place = truth[["x0", "y0", "x1", "y1"]].where(truth["entry"] == "lesion")
    return pd.concat([truth[[*columns, "label", "entry", "target"]], place], axis=1).reset_index(drop=True)


def statistics(
    predictions: Predictions, metric: str, scoring: Scoring, labels: Sequence[str]
) -> tuple[dict[str, Statistic], int]:
    """The metric of each label as a function of how often each patient is drawn, and how many patients there are."""
    frame = scoring.frame(predictions)
    kind = METRICS[metric]
    if kind in TEXTS:
        return text_statistics(frame, metric, labels)
    if kind == "marks":
        marks, count = label_marks(frame, labels, scoring.marks)
        if metric == "jafroc":
            return {label: one.jafroc.figure_of_merit for label, one in marks.items()}, count
        return {label: one.pointing for label, one in marks.items()}, count
    numbers, count = patient_numbers(frame)
    if kind == "reports":  # ones: as published F1 of reports takes it
        return report_statistics(frame, metric, labels, "zeros" if scoring.uncertain == "zeros" else "ones"), count
    if kind == "attention":
        return {label: LabelAttention(frame, label, numbers, count).mean for label in labels}, count
    if kind == "robustness":
        return _corrupted(frame, scoring, labels), count
    scores = {label: label_scores(frame, label, numbers, scoring.uncertain) for label in labels}
    if metric in OPERATING:
        side, point = OPERATING[metric]
        limits = point.thresholds(predictions.of_split(scoring.threshold_split), labels, scoring.uncertain)
        return {label: shares(scores[label], limits[label], count)[side] for label in labels}, count
    ranked = {label: RankedScores(s.logits, s.targets, s.patients, count) for label, s in scores.items()}
    return {label: one.auroc if metric == "auroc" else one.auprc for label, one in ranked.items()}, count


def _corrupted(frame: pd.DataFrame, scoring: Scoring, labels: Sequence[str]) -> dict[str, Statistic]:
    """Mean AUROC over the conditions chosen."""
    parts = scoring.selection.conditions(frame)
    numbers, count = patient_numbers(parts[0])

    def mean_over(ranked: list[RankedScores]) -> Statistic:
        def mean(counts: NDArray[np.float32]) -> NDArray[np.float64]:
            return np.asarray(np.mean([one.auroc(counts) for one in ranked], axis=0))

        return mean

    found = {}
    for label in labels:
        scores = [label_scores(part, label, numbers, scoring.uncertain) for part in parts]
        found[label] = mean_over([RankedScores(s.logits, s.targets, s.patients, count) for s in scores])
    return found

"""Which findings does the model name, and how surely? One row per image, and all metrics computed from those rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.collection import collect, image_columns
from cxrvl.evaluation.findings_metrics import FindingsOptions, findings_metrics
from cxrvl.evaluation.labels import UNCERTAIN_POLICIES
from cxrvl.evaluation.operating import OperatingPoint
from cxrvl.evaluation.predictions import Predictions, to_numpy

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable


class FindingsEvaluator:
    """Multi-label classification: predictions of kind "findings" and their metrics.

    Args:
        splits: splits to score.
        threshold_split: where each label's threshold is chosen; never where it is scored.
        score_split: where all metrics are computed.
        uncertain: what an uncertain target (-1) counts as: "ignore", "zeros" or "ones".
        groups: name -> labels whose mean AUROC is reported apart, e.g. {"asymmetry": [...]}.
        threshold_rule: "youden", "sensitivity" or "specificity", the last two with `threshold_target` in (0, 1].
        operating_points: further rules by name, {rule: ..., target: ...}, whose thresholds are fixed in the same way.
        subsets: name -> data sets (column `dataset`) whose images are scored apart as well, such as the hospitals that
            no training image came from; their thresholds are those of the whole threshold split.
        bootstrap: replicates of the bootstrap over patients.
        seed: of the bootstrap.
        confidence: of all intervals.
        bins: of the calibration error.
        output: attribute of the model's output that holds the logits; "teacher_logits" scores a teacher.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "findings"

    def __init__(
        self,
        splits: Sequence[str] = ("val", "test"),
        threshold_split: str = "val",
        score_split: str = "test",
        uncertain: str = "ignore",
        groups: Mapping[str, Sequence[str]] | None = None,
        threshold_rule: str = "youden",
        threshold_target: float | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
        bins: int = 15,
        operating_points: Mapping[str, Mapping[str, Any]] | None = None,
        subsets: Mapping[str, Sequence[str]] | None = None,
        output: str = "logits",
    ) -> None:
        self.splits = tuple(str(name) for name in splits)
        for name, split in (("threshold_split", threshold_split), ("score_split", score_split)):
            if split not in self.splits:
                raise ConfigError(f"evaluation {name} is {split!r}, which is not among its splits {list(self.splits)}")
        if threshold_split == score_split:
            raise ConfigError(f"evaluation threshold_split and score_split are both {score_split!r}: fix the threshold "
                              "on other patients than those it is scored on")  # fmt: skip
        if uncertain not in UNCERTAIN_POLICIES:
            raise ConfigError(f"evaluation uncertain is {uncertain!r}; expected one of {', '.join(UNCERTAIN_POLICIES)}")
        main = OperatingPoint.checked("threshold_rule", {"rule": threshold_rule, "target": threshold_target})
        points = {str(name): OperatingPoint.checked(f"operating_points.{name}", point)
                  for name, point in (operating_points or {}).items()}  # fmt: skip
        for name, datasets in (subsets or {}).items():
            if isinstance(datasets, str) or not datasets:
                raise ConfigError(f"evaluation subsets.{name} is {datasets!r}; expected a list of data sets")
        if bootstrap < 1 or not 0 < confidence < 1 or bins < 1:
            raise ConfigError(f"evaluation bootstrap={bootstrap}, confidence={confidence}, bins={bins}; expected at "
                              "least 1 replicate and 1 bin, and a confidence between 0 and 1")  # fmt: skip
        self.options = FindingsOptions(
            threshold_split, score_split, uncertain, {k: tuple(v) for k, v in (groups or {}).items()}, main,
            bootstrap, seed, confidence, bins, points, {k: tuple(v) for k, v in (subsets or {}).items()},
        )  # fmt: skip
        self.output = output

    def rows(self, batch: Mapping[str, Any], output: Any, table: "StudyTable") -> pd.DataFrame:
        """One row per image of a batch, whatever is known of its targets.

        Args:
            batch: has `index` (B,), rows of the study table; targets are taken from the table, not from the batch.
            output: has logits (B, L) as its attribute `self.output`, L the table's labels in their order.

        Raises:
            RunError: no such output, or logits of another shape.
        """
        return scored_rows(batch, output, self.output, table)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes; see `cxrvl.evaluation.collection.collect`."""
        return collect(self.kind, parts, table, self.splits, partial=partial)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `findings_metrics`, JSON-able."""
        return findings_metrics(predictions, self.options)


def scored_rows(batch: Mapping[str, Any], output: Any, name: str, table: "StudyTable") -> pd.DataFrame:
    """Keys, targets and logits of a batch, one row per image.

    Args:
        batch: has `index` (B,), rows of the study table.
        output: has logits (B, L) as its attribute `name`.

    Raises:
        RunError: no such output, or logits of another shape.
    """
    values = getattr(output, name, None)
    if values is None:
        there = [field for field in getattr(output, "_fields", ()) if "logits" in field]
        raise RunError(f"the evaluation scores the output {name!r}, which this task does not give; it gives "
                       f"{', '.join(there) or 'no logits'}: set the evaluator's output to that, or leave it out")  # fmt: skip
    index, logits = np.asarray(batch["index"], dtype=np.int64), to_numpy(values)
    if logits.shape != (len(index), len(table.labels)):
        raise RunError(f"the model gave logits of shape {logits.shape} for {len(index)} images and "
                       f"{len(table.labels)} labels; was it made for another label set?")  # fmt: skip
    images = table.frame.iloc[index]
    columns = image_columns(images)
    columns |= {f"target/{label}": images[label].to_numpy(dtype=np.float32) for label in table.labels}
    columns |= {f"logit/{label}": logits[:, number] for number, label in enumerate(table.labels)}
    return pd.DataFrame(columns)

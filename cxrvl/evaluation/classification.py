"""Which findings does the model name, and how surely? One row per image, and all metrics computed from those rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.collection import collect, image_columns
from cxrvl.evaluation.findings_metrics import FindingsOptions, findings_metrics
from cxrvl.evaluation.labels import UNCERTAIN_POLICIES
from cxrvl.evaluation.predictions import Predictions, to_numpy
from cxrvl.evaluation.statistics.operating_point import RULES

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
        bootstrap: replicates of the bootstrap over patients.
        seed: of the bootstrap.
        confidence: of all intervals.
        bins: of the calibration error.

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
        if threshold_rule not in RULES or (threshold_target is None) != (threshold_rule == "youden"):
            raise ConfigError(f"evaluation threshold_rule is {threshold_rule!r} with threshold_target "
                              f"{threshold_target}; expected youden, or a share to reach for the others")  # fmt: skip
        if bootstrap < 1 or not 0 < confidence < 1 or bins < 1:
            raise ConfigError(f"evaluation bootstrap={bootstrap}, confidence={confidence}, bins={bins}; expected at "
                              "least 1 replicate and 1 bin, and a confidence between 0 and 1")  # fmt: skip
        self.options = FindingsOptions(
            threshold_split, score_split, uncertain, {k: tuple(v) for k, v in (groups or {}).items()}, threshold_rule,
            threshold_target, bootstrap, seed, confidence, bins,
        )  # fmt: skip

    def rows(self, batch: Mapping[str, Any], output: Any, table: "StudyTable") -> pd.DataFrame:
        """One row per image of a batch, whatever is known of its targets.

        Args:
            batch: has `index` (B,), rows of the study table; targets are taken from the table, not from the batch.
            output: has `logits` (B, L), L the table's labels in their order.

        Raises:
            RunError: logits of another shape.
        """
        index, logits = np.asarray(batch["index"], dtype=np.int64), to_numpy(output.logits)
        if logits.shape != (len(index), len(table.labels)):
            raise RunError(f"the model gave logits of shape {logits.shape} for {len(index)} images and "
                           f"{len(table.labels)} labels; was it made for another label set?")  # fmt: skip
        images = table.frame.iloc[index]
        columns = image_columns(images)
        columns |= {f"target/{label}": images[label].to_numpy(dtype=np.float32) for label in table.labels}
        columns |= {f"logit/{label}": logits[:, number] for number, label in enumerate(table.labels)}
        return pd.DataFrame(columns)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes; see `cxrvl.evaluation.collection.collect`."""
        return collect(self.kind, parts, table, self.splits, partial=partial)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `findings_metrics`, JSON-able."""
        return findings_metrics(predictions, self.options)

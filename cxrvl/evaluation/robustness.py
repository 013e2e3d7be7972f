"""How well does a model rank images that something went wrong with? One row per image and condition."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.classification import scored_rows
from cxrvl.evaluation.collection import collect
from cxrvl.evaluation.labels import UNCERTAIN_POLICIES
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.robustness_metrics import CLEAN, RobustnessOptions, robustness_metrics

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable


class RobustnessEvaluator:
    """Predictions of kind "robustness": the same images untouched and under each corruption at each severity.

    The corruptions of `cxrvl.data.transforms.corruptions` change the network's input (after the evaluation transforms),
    by chance that is a function of `corruption_seed` and of the image's row alone: every model sees the same pictures.

    Args:
        splits: splits to score.
        score_split: where all metrics are computed.
        corruptions: names; None = all.
        severities: out of 1 to 5.
        corruption_seed: of noise, directions and places.
        output: attribute of the model's output that holds the logits; "teacher_logits" scores a teacher.
        uncertain: what an uncertain target (-1) counts as: "ignore", "zeros" or "ones".
        groups: name -> labels whose mean AUROC is reported apart.
        bootstrap, seed, confidence: of the bootstrap over patients.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "robustness"

    def __init__(
        self,
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        corruption_seed: int = 0,
        output: str = "logits",
        uncertain: str = "ignore",
        groups: Mapping[str, Sequence[str]] | None = None,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        # Torch is not needed to read predictions, only to make them.
        from cxrvl.data.transforms.corruptions import CORRUPTIONS, checked

        self.splits = tuple(str(name) for name in splits)
        if score_split not in self.splits:
            raise ConfigError(
                f"evaluation score_split is {score_split!r}, which is not among its splits {list(self.splits)}"
            )
        if uncertain not in UNCERTAIN_POLICIES:
            raise ConfigError(f"evaluation uncertain is {uncertain!r}; expected one of {', '.join(UNCERTAIN_POLICIES)}")
        if bootstrap < 1 or not 0 < confidence < 1:
            raise ConfigError(f"evaluation bootstrap={bootstrap}, confidence={confidence}; expected at least 1 replicate, "
                              "and a confidence between 0 and 1")  # fmt: skip
        names = list(CORRUPTIONS) if corruptions is None else list(corruptions)
        checked(names, severities)
        self.conditions = [(name, int(severity)) for name in names for severity in severities]
        self.corruption_seed, self.output = corruption_seed, output
        self.options = RobustnessOptions(
            score_split, uncertain, {k: tuple(v) for k, v in (groups or {}).items()}, bootstrap, seed, confidence
        )

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Rows of a batch under all conditions.

        Args:
            batch: `image` (B, 1, H, W) float32 in [0, 1] and `index` (B,), rows of the study table.
            output: the task's answer to the batch as it is.

        Raises:
            RunError: no such output, or logits of another shape.
        """
        from cxrvl.data.random import Draw
        from cxrvl.data.transforms.corruptions import corrupt

        plain = {**batch, "index": batch["index"].cpu()}
        parts = [scored_rows(plain, output, self.output, table).assign(corruption=CLEAN, severity=0)]
        draw = Draw(self.corruption_seed, 0, batch["index"])
        for name, severity in self.conditions:
            changed = {**batch, "image": corrupt(batch["image"], name, severity, draw)}
            rows = scored_rows(plain, network.predict(changed), self.output, table)
            parts.append(rows.assign(corruption=name, severity=severity))
        return pd.concat(parts, ignore_index=True)

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes; see `cxrvl.evaluation.collection.collect`.

        Raises:
            RunError: as said there, or an image that lacks a condition.
        """
        found = collect(self.kind, parts, table, self.splits, partial=partial)
        counts = found.frame.groupby(["dataset", "image"], sort=False).size()
        wanted = len(self.conditions) + 1
        if (counts != wanted).any():
            image = counts.index[counts != wanted][0][1]
            raise RunError(f"image {image} was scored under {counts[counts != wanted].iloc[0]} of {wanted} conditions")
        return found

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `robustness_metrics`, JSON-able."""
        return robustness_metrics(predictions, self.options)

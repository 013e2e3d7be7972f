"""Are the reports nearest to an image of its own class? Precision among the nearest, as on CheXpert 5x200."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.dual.encoder import DualEncoder
from cxrvl.evaluation.dual.pairs import Pairs, embedded_pairs, joined_pairs, paired_rows, predictions_of
from cxrvl.evaluation.predictions import IMAGE_COLUMNS, PRECISIONS, Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import BLOCK
from cxrvl.evaluation.text_metrics import TextOptions, text_metrics

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable


class ClassRetrievalEvaluator:
    """Label-level retrieval (Huang et al. 2021, GLoRIA, section 4.2): predictions of kind "precision", one row per image.

    Of each class those studies are chosen that show it and no other of the classes, not even perhaps. The pool is their
    reports; right is a report of any study of the image's class.

    Args:
        classes: labels, such as GLoRIA's five: Atelectasis, Cardiomegaly, Edema, Consolidation, Effusion.
        per_class: studies of a class at most, those whose names hash lowest; None = all. Fewer are taken where there are
            fewer, and their number is reported.
        splits, score_split, bootstrap, seed, confidence: see `ImageTextRetrievalEvaluator`.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "precision"
    asks = DualEncoder

    def __init__(
        self,
        classes: Sequence[str],
        per_class: int | None = 200,
        splits: Sequence[str] = ("test",),
        score_split: str = "test",
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.classes = tuple(str(name) for name in classes)
        if len(set(self.classes)) < 2 or (per_class is not None and per_class < 1):
            raise ConfigError(
                f"evaluation classes={list(self.classes)}, per_class={per_class}; expected at least 2 different classes "
                "and 1 study of each, or null"
            )
        self.per_class, self.splits = per_class, tuple(splits)
        self.options = TextOptions.checked(splits, score_split, None, bootstrap, seed, confidence)

    def scored(self, table: "StudyTable") -> np.ndarray:
        """Return the rows (n,) int64 of the study table that are scored.

        Raises:
            ConfigError: an unknown class. DataError: a split with studies of fewer than two classes, or no reports.
        """
        for name in self.classes:
            if name not in table.labels:
                raise ConfigError(
                    f"evaluation classes names the label '{name}'{did_you_mean(name, table.labels)}; the data has "
                    f"{', '.join(table.labels) or 'none'}"
                )
        paired_rows(table, self.splits)
        frame = table.frame
        values = frame[list(self.classes)].to_numpy(dtype=np.float32)
        alone = (values == 1).sum(axis=1) == 1
        alone &= ~(values == -1).any(axis=1)
        chosen = []
        for split in self.splits:
            rows = table.split(split)
            rows = rows[alone[rows]]
            classes = values[rows].argmax(axis=1) if len(rows) else np.empty(0, dtype=np.int64)
            if len(np.unique(classes)) < 2:
                raise DataError(
                    f"split {split!r} of {table.split_name!r} has studies of fewer than two of the classes "
                    f"{', '.join(self.classes)} by themselves; name others, or leave the evaluation out"
                )
            names = (frame["dataset"] + "\x1f" + frame["study"]).to_numpy()[rows]
            chosen += [rows[np.isin(names, self._lowest(names[classes == number]))] for number in np.unique(classes)]
        return np.sort(np.concatenate(chosen))

    def _lowest(self, names: np.ndarray) -> list[str]:
        """The studies whose names hash lowest, whatever else there is."""
        different = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        return different[: self.per_class]

    def probe(self, batch: Batch, output: Any, network: Network, table: "StudyTable") -> pd.DataFrame:
        """Vectors of a batch's images and reports, and the class of each."""
        rows = embedded_pairs(batch, output, network, table, {}, 0)
        values = table.frame[list(self.classes)].to_numpy(dtype=np.float32)[rows["row"]]
        return rows.assign(label=[self.classes[number] for number in (values == 1).argmax(axis=1)])

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Count right reports among the nearest, of all processes."""
        rows = joined_pairs(parts, table)
        counted = [self._counted(Pairs.of(group)) for _, group in rows.groupby("split", sort=False)]
        return predictions_of(pd.concat(counted, ignore_index=True), self.kind, self.classes, table)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `text_metrics`, JSON-able."""
        return text_metrics(predictions, self.options)

    def _counted(self, pairs: Pairs) -> pd.DataFrame:
        """Expected number of right reports among the nearest k of every image, and how many there are."""
        about = pairs.frame[list(IMAGE_COLUMNS)]
        classes = pairs.frame["label"].to_numpy()
        reports, theirs = pairs.reports(), classes[pairs.first]
        counts = {f"hits_{k}": np.zeros(len(classes), dtype=np.float32) for k in PRECISIONS}
        for start in range(0, len(classes), BLOCK):
            here = slice(start, start + BLOCK)
            near = pairs.images[here] @ reports.T
            right = theirs[None] == classes[here, None]
            for k in PRECISIONS:
                counts[f"hits_{k}"][here] = expected_hits(near, right, min(k, near.shape[1]))
        of_class = np.array([(theirs == name).sum() for name in classes], dtype=np.float32)
        pool = np.full(len(classes), len(reports), dtype=np.float32)
        return about.assign(label=classes, text=pairs.frame["said"], **counts, of_class=of_class, pool=pool)


def expected_hits(near: NDArray[np.float32], right: NDArray[np.bool_], k: int) -> NDArray[np.float32]:
    """How many of the k nearest are right, (n,); among those as near as the last of them, expected over chance.

    Args:
        near, right: (n, U) similarity, and whether a document is a right answer.
        k: at most U.
    """
    last = np.partition(near, near.shape[1] - k, axis=1)[:, near.shape[1] - k][:, None]
    above, level = near > last, near == last
    free = k - above.sum(axis=1)
    share = (level & right).sum(axis=1) / level.sum(axis=1)
    return np.asarray((above & right).sum(axis=1) + free * share, dtype=np.float32)

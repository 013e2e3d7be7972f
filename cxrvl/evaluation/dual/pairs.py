"""Which images and reports does an evaluation of pairs hold, and what are the vectors of both?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxrvl.data.reports.style import apply
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import DataError
from cxrvl.evaluation.collection import image_columns
from cxrvl.evaluation.dual.encoder import UNPAIRED, image_embeddings, passages_of, text_embeddings
from cxrvl.evaluation.predictions import Predictions
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import Places, Pool, Vectors
from cxrvl.evaluation.text.reports import fingerprint_of

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

PLAIN = ""
Styles = Mapping[str, Mapping[str, float]]
"""Name of a way of writing -> rewriting -> strength, see `cxrvl.data.reports.style.STYLES`."""


def paired_rows(table: "StudyTable", splits: Sequence[str]) -> Places:
    """Return the rows (n,) of splits of a table with reports; DataError for a table of images alone."""
    if not any(name in table.frame.columns for name in SECTIONS):
        raise DataError(UNPAIRED)
    return np.concatenate([table.split(name) for name in splits])


def embedded_pairs(
    batch: Batch, output: Any, network: Network, table: "StudyTable", styles: Styles, style_seed: int
) -> pd.DataFrame:
    """Vectors of a batch's images and reports, one row per image.

    Returns:
        keys of the images; `row` of the study table; `said`, a name of the report's text; `vector` (D,) of the image;
        `text/<style>` (D,) of the report in each style, as it is under `text/`.
    """
    index = np.asarray(batch["index"].cpu(), dtype=np.int64)
    columns = image_columns(table.frame.iloc[index])
    passages = passages_of(batch)
    names = [PLAIN, *styles]
    written = {
        name: [
            one.with_body(restyled(one.body, f"{dataset}/{study}", styles.get(name, {}), style_seed))
            for one, dataset, study in zip(passages, columns["dataset"], columns["study"], strict=True)
        ]
        for name in names
    }
    vectors = text_embeddings(network, [one for name in names for one in written[name]])
    parts = {f"text/{name}": list(part) for name, part in zip(names, np.split(vectors, len(names)), strict=True)}
    said = [fingerprint_of(one.body) for one in passages]
    return pd.DataFrame({**columns, "row": index, "said": said, "vector": list(image_embeddings(output)), **parts})


def restyled(text: str, key: str, style: Mapping[str, float], seed: int) -> str:
    """The text in another style; as it is where nothing would be left of it."""
    if not style:
        return text
    return apply(text, style, seed=seed, key=f"{key}/{'+'.join(style)}").text.strip() or text


def joined_pairs(parts: Sequence[pd.DataFrame], table: "StudyTable") -> pd.DataFrame:
    """The rows of all batches and processes, each image once, in the order of its name; DataError for none."""
    filled = [part for part in parts if len(part)]
    if not filled:
        raise DataError(f"no image of {table.split_name!r} with a report was scored; the splits asked for hold none")
    rows = pd.concat(filled, ignore_index=True).drop_duplicates(["dataset", "image"])
    return rows.sort_values(["dataset", "image"], ignore_index=True)


@dataclass(frozen=True)
class Pairs:
    """The images and the reports of one pool.

    frame: (n,) rows of `joined_pairs`. images: (n, D). studies, texts: (n,) number of each image's study and text.
    first: (S,) the first image of each study. said: (S,) number of each study's text.
    """

    frame: pd.DataFrame
    images: Vectors
    studies: Places
    texts: Places
    first: Places
    said: Places

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "Pairs":
        """Number the studies and texts of some rows."""
        frame = rows.reset_index(drop=True)
        studies, _ = pd.factorize(frame["dataset"] + "\x1f" + frame["study"])
        texts, _ = pd.factorize(frame["said"])
        first = np.unique(studies, return_index=True)[1]
        return cls(frame, np.stack(list(frame["vector"])), studies.astype(np.int64), texts.astype(np.int64),
                   first.astype(np.int64), texts[first].astype(np.int64))  # fmt: skip

    def reports(self, style: str = PLAIN) -> Vectors:
        """Vectors (S, D) of the studies' reports in a style; plain reports that read the same have the same."""
        vectors = np.stack(list(self.frame[f"text/{style}"].to_numpy()[self.first]))
        if style == PLAIN:  # computed in different batches, equal texts may differ in the last bit
            vectors = vectors[np.unique(self.said, return_index=True)[1]][self.said]
        return vectors

    def image_pool(self) -> Pool:
        """All images as documents."""
        return Pool.build(self.images, self.texts, self.studies)

    def report_pool(self, style: str = PLAIN) -> Pool:
        """All reports as documents."""
        return Pool.build(self.reports(style), self.said, np.arange(len(self.first)))

    def image_names(self) -> np.ndarray:
        """Name (n,) of every image."""
        return (self.frame["dataset"] + "/" + self.frame["image"]).to_numpy()

    def report_names(self) -> np.ndarray:
        """Name (S,) of every report."""
        return (self.frame["dataset"] + "/" + self.frame["study"]).to_numpy()[self.first]


def predictions_of(
    rows: pd.DataFrame, kind: str, labels: Sequence[str], table: "StudyTable", info: Mapping[str, Any] | None = None
) -> Predictions:
    """Predictions of the images and reports that were scored."""
    once = rows.drop_duplicates(["dataset", "image"])
    folds = {str(name): int(count) for name, count in once["split"].value_counts().items()}
    return Predictions.build(
        rows, kind=kind, labels=labels, folds=folds, split_name=table.split_name,
        info={"split_sha256": table.split_sha256, **(info or {})}, origin="evaluation",
    )  # fmt: skip

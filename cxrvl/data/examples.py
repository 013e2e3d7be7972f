"""Which few radiographs and reports stand for a data set, and what do their pixels look like?"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.data.images import ImageStore, StoreSpec, store_id
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.store_files import INDEX
from cxrvl.data.studies import SECTIONS, UNKNOWN_SIZE, StudyTable
from cxrvl.data.summary import study_texts
from cxrvl.errors import ImageError

WHOLE = np.array([0.0, 0.0, 1.0, 1.0], dtype=np.float32)


@dataclass(frozen=True)
class Look:
    """One image of a table: pixels (H, W) float32 in [0, 1], None where unreadable, `reason` then says why.

    fov: (4,) the rectangle of the native image the pixels cover. stored: whether they come from an image store.
    """

    row: int
    pixels: NDArray[np.float32] | None
    fov: NDArray[np.float32]
    stored: bool = False
    reason: str = ""


class Looker:
    """Pixels of single rows of a study table: from the image store where it is prepared, else decoded from the file.

    source: the table's source; store_root, spec: of the data config, None = no store.
    """

    def __init__(
        self, source: Any, table: StudyTable, store_root: Path | None = None, spec: StoreSpec | None = None
    ) -> None:
        self.source, self.table = source, table
        self._seen: dict[int, Look] = {}
        self.store = _prepared(source, table, store_root, spec)
        self._where = _store_rows(self.store, table)

    def look(self, row: int) -> Look:
        """Return one row's pixels; each is decoded once."""
        if row not in self._seen:
            self._seen[row] = self._stored(row) or self._read(row)
        return self._seen[row]

    def looks(self) -> list[Look]:
        """Return what was looked at so far."""
        return list(self._seen.values())

    def _stored(self, row: int) -> Look | None:
        if self.store is None or (where := int(self._where[row])) < 0:
            return None
        square = self.store.take(np.array([where]))[0]
        return Look(row, (square / self.store.spec.full).astype(np.float32), self.store.fov[where], stored=True)

    def _read(self, row: int) -> Look:
        key = str(self.table.frame["image"].iloc[row])
        try:
            return Look(row, self.source.read(key), WHOLE)
        except ImageError as error:
            return Look(row, None, WHOLE, reason=str(error))


def synthetic_parts(source: Any) -> tuple[str, ...]:
    """Name the data sets of a source, or of a mixture's parts, that are drawn and nobody's."""
    parts = source.parts if isinstance(source, Mixture) else {source.name: source}
    return tuple(name for name, part in parts.items() if isinstance(part, PhantomSource))


def _prepared(source: Any, table: StudyTable, root: Path | None, spec: StoreSpec | None) -> ImageStore | None:
    """Open the store that training would use, if it has been made."""
    if root is None or spec is None or (table.frame["bytes"] == UNKNOWN_SIZE).any():
        return None
    folder = root / store_id(source, table, spec)
    return ImageStore.open(folder) if (folder / INDEX).is_file() else None


def _store_rows(store: ImageStore | None, table: StudyTable) -> NDArray[np.int64]:
    """Store row of each row of a table, -1 where the store has no readable image."""
    rows = np.full(len(table), -1, dtype=np.int64)
    if store is not None:
        there = store.available(table)
        rows[there] = store.rows(replace(table, frame=table.frame[there]))
    return rows


def sample(frame: pd.DataFrame, rows: NDArray[np.int64], count: int, seed: int, what: str) -> NDArray[np.int64]:
    """Draw up to `count` of some rows, seeded by (seed, what), a patient a second time only where there is no other."""
    generator = np.random.default_rng([seed, zlib.crc32(what.encode())])
    shuffled = generator.permutation(rows)
    again = frame[["dataset", "patient"]].iloc[shuffled].duplicated().to_numpy()
    return np.concatenate([shuffled[~again], shuffled[again]])[:count].astype(np.int64)


def contact_sheets(table: StudyTable, count: int, per_label: int, seed: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (title, label, rows) of each contact sheet, label "" for a mixed one.

    First a random sheet of `count` images of each data set; then `per_label` positives of each label, of which up to
    half have a box of it where there are any; its uncertain ones; and images that no label calls positive.
    """
    frame, values = table.frame, table.targets()
    datasets = [str(name) for name in frame["dataset"].unique()]
    for name in datasets:
        rows = np.flatnonzero((frame["dataset"] == name).to_numpy())
        title = "Random sample" + (f" of {name}" if len(datasets) > 1 else "")
        yield title, "", sample(frame, rows, count, seed, f"sheet {name}")
    if not table.labels:
        return
    plain = np.flatnonzero(~((values == 1) | (values == -1)).any(axis=1) & (values == 0).any(axis=1))
    if plain.size:
        yield "No label positive", "", sample(frame, plain, per_label, seed, "plain")
    boxed = _boxed(frame, table.labels)
    for number, label in enumerate(table.labels):
        positive = np.flatnonzero(values[:, number] == 1)
        if positive.size:
            yield label, label, _boxes_first(frame, positive, boxed[label], per_label, seed, label)
        uncertain = np.flatnonzero(values[:, number] == -1)
        if uncertain.size:
            yield f"{label}, uncertain", label, sample(frame, uncertain, per_label, seed, f"uncertain {label}")


def _boxed(frame: pd.DataFrame, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows with a box of each label."""
    found: dict[str, list[int]] = {label: [] for label in labels}
    for row, boxes in enumerate(frame["boxes"]):
        for label in {box[0] for box in boxes} if boxes else ():
            if label in found:
                found[label].append(row)
    return {label: np.array(rows, dtype=np.int64) for label, rows in found.items()}


def _boxes_first(
    frame: pd.DataFrame, rows: np.ndarray, boxed: np.ndarray, count: int, seed: int, label: str
) -> np.ndarray:
    with_box = sample(frame, np.intersect1d(rows, boxed), max(count // 2, 1), seed, f"boxed {label}")
    rest = sample(frame, np.setdiff1d(rows, with_box), count, seed, f"positive {label}")
    return np.concatenate([with_box, rest])[:count].astype(np.int64)


def report_rows(frame: pd.DataFrame, count: int, seed: int, pictured: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Draw the first rows of up to `count` studies with text.

    pictured: (N,) bool, rows whose study has an image; where some have none, they get up to half of the places.
    """
    texts = study_texts(frame)
    sections = [name for name in SECTIONS if name in texts]
    if not sections:
        return np.zeros(0, dtype=np.int64)
    rows = texts["row"].to_numpy()[(texts[sections] != "").any(axis=1).to_numpy()]
    seen = sample(frame, rows[pictured[rows]], count, seed, "reports with images")
    unseen = sample(frame, rows[~pictured[rows]], count, seed, "reports without images")
    places = max(count - len(unseen), min(len(seen), -(-count // 2)))
    return np.concatenate([seen[:places], unseen])[:count]


def images_of(frame: pd.DataFrame, dataset: str, study: str) -> NDArray[np.int64]:
    """Rows of one study's images."""
    return np.flatnonzero(((frame["dataset"] == dataset) & (frame["study"] == study)).to_numpy())


def stated(frame: pd.DataFrame, row: int, labels: Sequence[str]) -> dict[str, list[str]]:
    """Labels of one row by what it states: present, uncertain, absent; nothing for labels that are not stated."""
    values = frame[list(labels)].iloc[row].to_numpy(dtype=np.float32)
    words = {"present": 1.0, "uncertain": -1.0, "absent": 0.0}
    found = {
        word: [name for name, held in zip(labels, values, strict=True) if held == value]
        for word, value in words.items()
    }
    return {word: names for word, names in found.items() if names}

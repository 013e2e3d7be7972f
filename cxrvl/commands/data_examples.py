"""Which examples does `cxrvl data show` show of a data set, and how are they captioned? Contact sheets and reports."""

import base64
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cxrvl.config.build import build
from cxrvl.data.boxes import seen
from cxrvl.data.examples import Look, Looker, contact_sheets, images_of, report_rows, stated, synthetic_parts
from cxrvl.data.labeler import Labeler
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.studies import SECTIONS, StudyTable
from cxrvl.data.summary import study_texts
from cxrvl.tables.dataset.marks import judged, sections
from cxrvl.tables.dataset.page import Sheet, Story, Tile
from cxrvl.tracking.drawing import grey, with_boxes

PER_LABEL = 3
"""A label's sheet has one in so many of the images of a random one."""
STUDY_IMAGES = 4
QUALITY = 85


class Examples:
    """Sampled images and reports of a source's tables; nothing is decoded twice, and nothing that is not asked for.

    table, reports: what the source has. data: the data config, for its image store. images, studies: how many; seed:
    which.
    """

    def __init__(
        self,
        source: Any,
        table: StudyTable | None,
        reports: ReportTable | None,
        data: Mapping[str, Any],
        images: int,
        studies: int,
        seed: int,
    ) -> None:
        self.table, self.reports = table, reports
        self.images, self.studies, self.seed = images, studies, seed
        spec = build(data["store"]) if data.get("store") else None
        root = Path(data["store_root"]) if data.get("store_root") else None
        self.looker = None if table is None else Looker(source, table, root, spec)
        self.labeler = Labeler("findings")
        self.drawn = synthetic_parts(source)
        self.mixed = table is not None and table.frame["dataset"].nunique() > 1

    def sampled(self) -> list[Look]:
        """Look at the images of the random sheets, and only at those."""
        if self.table is None or self.looker is None or not self.images:
            return []
        rows = [row for _, label, part in self._sheets() if not label for row in part.tolist()]
        return [self.looker.look(row) for row in dict.fromkeys(rows)]

    def looks(self) -> list[Look]:
        """Return all images that were looked at so far."""
        return [] if self.looker is None else self.looker.looks()

    def sheets(self) -> list[Sheet]:
        """Return the contact sheets."""
        return [
            Sheet(title, [self._tile(row, label) for row in rows.tolist()], _about(label))
            for title, label, rows in self._sheets()
        ]

    def stories(self) -> list[Story]:
        """Return reports beside their images."""
        made = []
        for row, texts in self._texts():
            shown, said = judged(texts, self.labeler)
            frame = self._rows().frame
            tiles = [self._tile(image, "") for image in self._images(row)]
            labels = stated(frame, row, self._rows().labels)
            made.append(Story(_heading(frame, row), tiles, shown, said, labels))
        return made

    def told(self) -> Iterator[tuple[str, dict[str, str], dict[str, list[str]]]]:
        """Yield (heading, sections, labels read) of each report, for the terminal."""
        for row, texts in self._texts():
            keys = [str(self.table.frame["image"].iloc[i]) for i in self._images(row)] if self.table else []
            heading = f"{_heading(self._rows().frame, row)}{': ' if keys else ''}{', '.join(keys)}"
            yield heading, texts, judged(texts, self.labeler)[1]

    def _sheets(self) -> Iterator[tuple[str, str, np.ndarray]]:
        if self.table is not None and self.images:
            few = max(1, self.images // PER_LABEL)
            yield from contact_sheets(self.table, self.images, few, self.seed)

    def _rows(self) -> StudyTable | ReportTable:
        """Return the table whose text is shown."""
        rows = self.table if self.reports is None else self.reports
        assert rows is not None
        return rows

    def _texts(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the first row and the sections of each sampled study."""
        frame = self._rows().frame
        if not self.studies:
            return
        rows = report_rows(frame, self.studies, self.seed, self._pictured(frame))
        texts = study_texts(frame).set_index("row")
        for row in rows.tolist():
            line = texts.loc[row]
            yield row, sections({name: str(line[name]) for name in SECTIONS if name in texts})

    def _pictured(self, frame: pd.DataFrame) -> np.ndarray:
        if self.reports is None:
            return np.ones(len(frame), dtype=bool)
        if self.table is None:
            return np.zeros(len(frame), dtype=bool)
        keys = ["dataset", "study"]
        return pd.MultiIndex.from_frame(frame[keys]).isin(pd.MultiIndex.from_frame(self.table.frame[keys]))

    def _images(self, row: int) -> list[int]:
        """Rows of the images of a report's study."""
        if self.table is None:
            return []
        line = self._rows().frame.iloc[row]
        found = images_of(self.table.frame, str(line["dataset"]), str(line["study"]))
        return found[:STUDY_IMAGES].tolist()

    def _tile(self, row: int, label: str) -> Tile:
        """Return one image with the boxes of a label, or all of its boxes."""
        assert self.table is not None
        assert self.looker is not None
        look, line = self.looker.look(row), self.table.frame.iloc[row]
        boxes = [box for box in line["boxes"] if label in ("", box[0])]
        name = str(line["dataset"])
        whose = [name] if self.mixed else []
        whose += ["synthetic"] if name in self.drawn else []
        caption = _caption(line, self.table.labels, whose)
        if boxes:
            names = pd.Series([box[0] for box in boxes]).value_counts(sort=False)
            caption += "; boxes: " + ", ".join(f"{name} {n}" if n > 1 else str(name) for name, n in names.items())
        if look.pixels is None:
            return Tile("", caption, str(line["image"]), look.reason)
        return Tile(_data_address(look, [box[1:] for box in boxes]), caption, str(line["image"]))


def _data_address(look: Look, boxes: list[tuple[float, float, float, float]]) -> str:
    """Return the picture as a JPEG inside an address, boxes outlined."""
    assert look.pixels is not None
    picture = grey(look.pixels[None])
    if boxes:
        picture = with_boxes(picture, [seen(box, look.fov) for box in boxes])
    out = io.BytesIO()
    Image.fromarray(picture).save(out, format="JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def _about(label: str) -> str:
    return f"Images with {label}, some with a box of it where there are any. Yellow: its boxes." if label else ""


def _caption(line: pd.Series, labels: tuple[str, ...], whose: list[str]) -> str:
    age = line["age"]
    who = [*whose, line["split"], line["view"], line["sex"], "" if math.isnan(age) else f"{age:.0f} y"]
    found = [f"{name}{'?' if line[name] == -1 else ''}" for name in labels if line[name] in (1, -1)]
    return "; ".join(part for part in (", ".join(str(word) for word in who if word), ", ".join(found)) if part)


def _heading(frame: pd.DataFrame, row: int) -> str:
    line = frame.iloc[row]
    return f"{line['dataset']}, study {line['study']}, {line['split']}"

"""Where does the CLS token of each generation look, beside the ground-truth box, and which of its heads looks there?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from cxrvl.errors import DataError
from cxrvl.evaluation.attention import Box, checked_maps
from cxrvl.tables.attention_drawing import COLOUR, GREY, SCALE, Example, check_boxes, draw_image, overlay, share, told
from cxrvl.tables.canvas import Sheet, save
from cxrvl.tables.synthetic import SYNTHETIC

SIDE = "CLS"
_CELL, _GAP = 1.3, 0.06
_NAME_LETTERS = 18
"""How many letters of a row's name fit beside its heads."""


@dataclass(frozen=True)
class Looked:
    """What one generation saw and attended to: images (n, H, W) in [0, 1], maps (n, heads, h, w), boxes per image."""

    images: NDArray[np.floating]
    maps: NDArray[np.floating]
    boxes: Sequence[Sequence[Box]]
    titles: Sequence[str]

    def examples(self, name: str) -> list[Example]:
        """One example per image; DataError where shapes disagree."""
        maps = checked_maps(self.maps, name)
        if self.images.ndim != 3 or not len(self.images) == len(maps) == len(self.boxes) == len(self.titles):
            raise DataError(
                f"{name}: images {self.images.shape}, maps {maps.shape}, {len(self.boxes)} lists of boxes and "
                f"{len(self.titles)} titles do not belong together; expected (n, H, W), (n, heads, h, w), n and n"
            )
        if not len(maps):
            raise DataError(f"{name}: no image to draw attention on")
        check_boxes(self.boxes)
        return [
            Example(np.asarray(image, dtype=np.float64), box, title, {SIDE: heads})
            for image, box, title, heads in zip(self.images, self.boxes, self.titles, maps, strict=True)
        ]


def generations_figure(rows: Mapping[str, Looked], path: Path, *, title: str, synthetic: bool = False) -> Path:
    """Draw one line per image: the image with its box if it has one, then the mean over heads of every row of the table.

    rows: display label -> what it attended to, in table order, the same images for all. Below each map stands its
    attention inside the box beside chance. Returns the written path; raises DataError where rows do not fit together.
    """
    examples = _together(rows)
    first = next(iter(examples.values()))
    step, top = _CELL + 0.26, 0.86
    places = [0.32 + column * (_CELL + _GAP) for column in range(len(rows) + 1)]
    sheet = Sheet(max(places[-1] + _CELL + 0.1, 6.4), top + len(first) * step + 0.6)
    sheet.text(0.1, 0.12, title, size=11, weight="bold")
    boxed = any(example.boxes for example in first)
    for place, head in zip(places, ("Image and box" if boxed else "Image", *rows), strict=True):
        sheet.text(place + _CELL / 2, 0.62, head, size=8, align="center")
    for line, example in enumerate(first):
        y = top + line * step
        sheet.text(0.2, y + _CELL / 2, example.title, size=8.5, align="center", rotation=90)
        draw_image(sheet.axes(places[0], y, _CELL, _CELL), example)
        for place, own in zip(places[1:], examples.values(), strict=True):
            attention = own[line].maps[SIDE].mean(axis=0)
            overlay(sheet.axes(place, y, _CELL, _CELL), own[line], attention, SIDE)
            below = told(own[line], attention, None, "head")
            sheet.text(place + _CELL / 2, y + _CELL + 0.03, below, size=6.5, colour=GREY, align="center")
    about = "Attention of CLS in the last block, mean over heads."
    _notes(sheet, f"{about} In brackets the box's share of the image (chance)." if boxed else about, boxed, synthetic)
    return save(sheet.figure, path)


def heads_figure(rows: Mapping[str, Looked], path: Path, *, title: str, synthetic: bool = False) -> Path:
    """Draw every head of every row of the table on the first image, one line per row; see `generations_figure`."""
    examples = {name: own[0] for name, own in _together(rows).items()}
    heads = max(len(example.maps[SIDE]) for example in examples.values())
    step, top = _CELL + 0.26, 0.76
    width = 1.5 + heads * (_CELL + _GAP) + 0.1
    sheet = Sheet(max(width, 6.4), top + len(examples) * step + 0.6)
    shown = next(iter(examples.values()))
    about = f", the box covers {share(shown.chance)} of it" if shown.boxes else ""
    sheet.text(0.1, 0.12, title, size=11, weight="bold")
    sheet.text(0.1, 0.42, f"Every head on one image: {shown.title}{about}.", size=8.5)
    for line, (name, example) in enumerate(examples.items()):
        y = top + line * step
        words = wrap(name, _NAME_LETTERS)
        for number, part in enumerate(words):
            sheet.text(0.1, y + _CELL / 2 + 0.15 * (number - len(words) / 2), part, size=8.5)
        for head, attention in enumerate(example.maps[SIDE]):
            place = 1.5 + head * (_CELL + _GAP)
            overlay(sheet.axes(place, y, _CELL, _CELL), example, attention, SIDE, thin=True)
            below = f"head {head}: {share(example.mass(attention))}" if example.boxes else f"head {head}"
            sheet.text(place + _CELL / 2, y + _CELL + 0.03, below, size=6.5, colour=GREY, align="center")
    numbers = "Heads count from 0 and keep their number over generations."
    about = f"Percentages: attention in the box. {numbers}" if shown.boxes else numbers
    _notes(sheet, about, bool(shown.boxes), synthetic)
    return save(sheet.figure, path)


def _together(rows: Mapping[str, Looked]) -> dict[str, list[Example]]:
    if not rows:
        raise DataError("no row of the table attends to anything")
    examples = {name: looked.examples(name) for name, looked in rows.items()}
    titles = {name: [example.title for example in own] for name, own in examples.items()}
    first = next(iter(titles))
    for name, own in titles.items():
        if own != titles[first]:
            raise DataError(f"{name} and {first} attended to other images: {own} and {titles[first]}")
    return examples


def _notes(sheet: Sheet, about: str, boxed: bool, synthetic: bool) -> None:
    for number, words in enumerate((about, SCALE if boxed else COLOUR, SYNTHETIC if synthetic else "")):
        sheet.text(0.1, sheet.height - 0.52 + 0.16 * number, words, size=7, colour=GREY)

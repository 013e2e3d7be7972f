"""Where do an ACM's attend maps K and Q look, beside the ground-truth box, chosen without and with knowing it?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrvl.errors import DataError
from cxrvl.evaluation.attention import BOX_COLOUR, Box, checked_maps
from cxrvl.tables.attention_drawing import (
    COLOUR,
    GREY,
    SCALE,
    Example,
    check_boxes,
    draw_image,
    frame,
    overlay,
    share,
    told,
)
from cxrvl.tables.canvas import INK, Sheet, save
from cxrvl.tables.cells import NOTHING
from cxrvl.tables.synthetic import SYNTHETIC

_CELL, _THUMB, _PER_LINE = 1.3, 0.78, 8


def attention_figure(
    images: NDArray[np.floating],
    boxes: Sequence[Sequence[Box]],
    key_maps: NDArray[np.floating],
    query_maps: NDArray[np.floating],
    path: Path,
    *,
    module_name: str,
    titles: Sequence[str],
    model: str = "ACM",
    synthetic: bool = False,
) -> Path:
    """Draw one line per image: the box, unselected views of K and Q, and the oracle's choice, named as such.

    images: (n, H, W) grey in [0, 1], as the model saw them. boxes: per image (x0, y0, x1, y1) in [0, 1] of that image.
    key_maps, query_maps: (n, G, h, w) softmax maps of one module. titles: the finding, per image. Columns: the mean
    over all G groups; the group with the lowest entropy (label-free); the group with the most attention in the box
    (oracle, as in the paper's figure 3). Below each map stands its attention inside the box beside chance, the box's
    share of the image. Returns the written path; raises DataError where shapes disagree.
    """
    examples = _examples(images, boxes, key_maps, query_maps, titles)
    groups = len(examples[0].maps["K"])
    places = [0.32 + column * (_CELL + 0.06) + gap * 0.2 for column, gap in enumerate((0, 1, 1, 2, 2, 3, 3))]
    step, top = _CELL + 0.26, 0.98
    sheet = Sheet(places[-1] + _CELL + 0.1, top + len(examples) * step + 0.44)
    sheet.text(0.1, 0.12, f"Attention of {model}, {module_name}", size=11, weight="bold")
    heads = (f"Unselected: mean of all {groups} groups", "Unselected: lowest entropy", "Selected with the box (oracle)")
    for head, column in zip(heads, (1, 3, 5), strict=True):
        left, right = places[column], places[column + 1] + _CELL
        sheet.text((left + right) / 2, 0.5, head, size=8, align="center")
        sheet.rule(left, right, 0.7)
        for side, position in (("K", column), ("Q", column + 1)):
            sheet.text(places[position] + _CELL / 2, 0.75, side, size=8.5, weight="bold", align="center")
    boxed = any(example.boxes for example in examples)
    sheet.text(places[0] + _CELL / 2, 0.5, "Image and box" if boxed else "Image", size=8, align="center")
    for line, example in enumerate(examples):
        y = top + line * step
        sheet.text(0.2, y + _CELL / 2, example.title, size=8.5, align="center", rotation=90)
        draw_image(sheet.axes(places[0], y, _CELL, _CELL), example)
        for column, side in enumerate(("K", "Q") * 3):
            group = (None, example.sharpest(side), example.oracle(side))[column // 2]
            x = places[column + 1]
            if group == -1:
                sheet.text(x + _CELL / 2, y + _CELL / 2, f"{NOTHING} (no box)", size=7.5, colour=GREY, align="center")
                continue
            attention = example.maps[side].mean(axis=0) if group is None else example.maps[side][group]
            overlay(sheet.axes(x, y, _CELL, _CELL), example, attention, side)
            sheet.text(
                x + _CELL / 2, y + _CELL + 0.03, told(example, attention, group), size=6.5, colour=GREY, align="center"
            )
    numbers = "Groups count from 0."
    about = f"Percentages: attention in the box; in brackets the box's share of the image (chance). {numbers}"
    sheet.text(0.1, sheet.height - 0.36, about if boxed else numbers, size=7, colour=GREY)
    last = " ".join(filter(None, (SCALE if boxed else COLOUR, SYNTHETIC if synthetic else "")))
    sheet.text(0.1, sheet.height - 0.2, last, size=7, colour=GREY)
    return save(sheet.figure, path)


def attention_sheet(
    image: NDArray[np.floating],
    boxes: Sequence[Box],
    key_maps: NDArray[np.floating],
    query_maps: NDArray[np.floating],
    path: Path,
    *,
    module_name: str,
    title: str,
    model: str = "ACM",
    synthetic: bool = False,
) -> Path:
    """Draw every group's K and Q map of one module on one image, nothing left out.

    image: (H, W) grey in [0, 1]; boxes as in `attention_figure`; key_maps, query_maps: (G, h, w). The group with the
    lowest entropy and the oracle's are framed. Returns the written path; raises DataError where shapes disagree.
    """
    arrays = (np.asarray(image)[None], [boxes], np.asarray(key_maps)[None], np.asarray(query_maps)[None])
    example = _examples(*arrays, [title])[0]
    groups = len(example.maps["K"])
    lines = -(-groups // _PER_LINE)
    step, top, side_height = _THUMB + 0.16, 0.86, lines * (_THUMB + 0.16) + 0.34
    width = 0.2 + min(groups, _PER_LINE) * (_THUMB + 0.05)
    sheet = Sheet(max(width, 6.4), top + 2 * side_height + 0.44)
    sheet.text(0.1, 0.12, f"All {groups} groups of {model}, {module_name}", size=11, weight="bold")
    below = f"group, attention in the box (chance {share(example.chance)})" if example.boxes else "group"
    sheet.text(0.1, 0.4, f"{title}; below each map: {below}", size=8)
    for position, side in enumerate(("K", "Q")):
        y0 = top + position * side_height
        sheet.text(0.1, y0 - 0.16, side, size=9, weight="bold")
        marks = {example.oracle(side): (BOX_COLOUR, "dashed"), example.sharpest(side): (INK, "solid")}
        for group, attention in enumerate(example.maps[side]):
            line, column = divmod(group, _PER_LINE)
            x, y = 0.1 + column * (_THUMB + 0.05), y0 + line * step
            axes = sheet.axes(x, y, _THUMB, _THUMB)
            overlay(axes, example, attention, side, thin=True)
            if group in marks:
                frame(axes, *marks[group])
            below = f"{group}: {share(example.mass(attention))}" if example.boxes else str(group)
            sheet.text(x + _THUMB / 2, y + _THUMB + 0.015, below, size=5.5, align="center", colour=GREY)
    framed = "Framed: lowest entropy (solid)" + (
        "; most attention in the box, an oracle (dashed)." if example.boxes else "."
    )
    for number, words in enumerate((framed, SCALE if example.boxes else COLOUR, SYNTHETIC if synthetic else "")):
        sheet.text(0.1, sheet.height - 0.52 + 0.16 * number, words, size=7, colour=GREY)
    return save(sheet.figure, path)


def _examples(
    images: NDArray[np.floating],
    boxes: Sequence[Sequence[Box]],
    key_maps: NDArray[np.floating],
    query_maps: NDArray[np.floating],
    titles: Sequence[str],
) -> list[Example]:
    shown = np.asarray(images, dtype=np.float64)
    keys, queries = checked_maps(key_maps, "key_maps"), checked_maps(query_maps, "query_maps")
    if shown.ndim != 3 or keys.shape != queries.shape or not len(shown) == len(boxes) == len(titles) == len(keys):
        raise DataError(
            f"images {shown.shape}, key maps {keys.shape}, query maps {queries.shape}, {len(boxes)} lists of boxes and "
            f"{len(titles)} titles do not belong together; expected (n, H, W), twice (n, G, h, w), n and n"
        )
    if not len(shown):
        raise DataError("no image to draw attention on")
    check_boxes(boxes)
    return [
        Example(image, box, title, {"K": key, "Q": query})
        for image, box, title, key, query in zip(shown, boxes, titles, keys, queries, strict=True)
    ]

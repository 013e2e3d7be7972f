"""What does each kind of picture show of a radiograph, and what is written below it?"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from cxrvl.data.boxes import Corners, seen
from cxrvl.data.studies import SECTIONS, StudyTable
from cxrvl.models.attention import Attended, order_by_entropy
from cxrvl.tracking.cases import Case
from cxrvl.tracking.drawing import beside, grey, with_attention, with_boxes
from cxrvl.tracking.pictures import Picture

SHOWN = 6
"""Views, or heads, beside one another in a picture."""


def input_pictures(cases: Sequence[Case], table: StudyTable) -> list[Picture]:
    """Training images after augmentation, with their positive labels; boxes were not augmented and are not shown."""
    return [_picture(table, case, grey(case.image.numpy()), "train/inputs", _findings(table, case)) for case in cases]


def error_pictures(cases: Sequence[Case], table: StudyTable) -> list[Picture]:
    """Badly predicted images with the boxes of the label in question, its target and its probability."""
    pictures = []
    for case in cases:
        label = table.labels[case.label]
        caption = f"{label}: target {case.target:g}, probability {case.probability:.3f}, loss {case.loss:.2f}"
        pixels = with_boxes(grey(case.image.numpy()), _boxes(table, case, label))
        pictures.append(_picture(table, case, pixels, "val/worst_errors", caption))
    return pictures


def attention_pictures(cases: Sequence[Case], table: StudyTable, found: Attended) -> list[Picture]:
    """Each image beside the mean and the most concentrated group of K and of Q: (n, G, h, w) maps of one module."""
    keys, queries = found.key.float().cpu(), found.query.float().cpu()
    sharpest = {"K": order_by_entropy(keys)[:, 0].tolist(), "Q": order_by_entropy(queries)[:, 0].tolist()}
    maps = {"K": keys.numpy(), "Q": queries.numpy()}
    pictures = []
    for number, case in enumerate(cases):
        image, boxes = grey(case.image.numpy()), _boxes(table, case, None)
        row = [with_boxes(image, boxes)]
        row += [with_attention(image, maps[side][number].mean(axis=0), side, boxes) for side in maps]
        row += [with_attention(image, maps[side][number, sharpest[side][number]], side, boxes) for side in maps]
        groups = ", ".join(f"{side} group {sharpest[side][number]}" for side in maps)
        caption = f"{_findings(table, case)}; {found.module.removeprefix('backbone.')}, most concentrated: {groups}"
        pictures.append(_picture(table, case, beside(row), "val/attention", caption))
    return pictures


def cls_pictures(cases: Sequence[Case], table: StudyTable, maps: Tensor) -> list[Picture]:
    """Each image beside the mean of the heads and the first `SHOWN` heads of CLS attention: maps (n, heads, h, w)."""
    pictures = []
    for case, heads in zip(cases, maps.float().cpu().numpy(), strict=True):
        image, boxes = grey(case.image.numpy()), _boxes(table, case, None)
        row = [with_boxes(image, boxes), with_attention(image, heads.mean(axis=0), "CLS", boxes)]
        row += [with_attention(image, head, "CLS", boxes) for head in heads[:SHOWN]]
        caption = f"{_findings(table, case)}; mean of {len(heads)} heads, then heads 0 to {min(len(heads), SHOWN) - 1}"
        pictures.append(_picture(table, case, beside(row), "val/cls_attention", caption))
    return pictures


def view_pictures(cases: Sequence[Case], views: Mapping[str, Tensor], table: StudyTable) -> list[Picture]:
    """The first `SHOWN` views of training images side by side; views: name -> (n, 1, h, w) float32 in [0, 1]."""
    shown = list(views)[:SHOWN]
    told = f"{', '.join(shown)}, of {len(views)} views" if len(views) > SHOWN else ", ".join(shown)
    pictures = []
    for number, case in enumerate(cases):
        row = [with_boxes(grey(views[name][number].float().cpu().numpy()), []) for name in shown]
        caption = f"{_findings(table, case)}; {told}"
        pictures.append(_picture(table, case, beside(row), "train/views", caption))
    return pictures


def _picture(table: StudyTable, case: Case, pixels: np.ndarray, kind: str, caption: str) -> Picture:
    row = table.frame.iloc[case.row]
    texts = [
        f"{name}: {row[name]}" for name in SECTIONS if name in row.index and isinstance(row[name], str) and row[name]
    ]
    return Picture(pixels, kind, caption, str(row["image"]), "\n".join(texts))


def _findings(table: StudyTable, case: Case) -> str:
    row = table.frame.iloc[case.row]
    return ", ".join(label for label in table.labels if row[label] == 1) or "no finding"


def _boxes(table: StudyTable, case: Case, label: str | None) -> list[Corners]:
    """Return the boxes of one label, or of all, where an input that was not augmented shows them."""
    drawn = [box for box in table.frame["boxes"].iloc[case.row] if label is None or box[0] == label]
    placed = [seen(box[1:], case.fov.numpy()) for box in drawn]
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in placed if x1 > x0 and y1 > y0]

"""How do the rows' ROC curves compare, drawn from predictions alone?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxrvl.errors import DataError
from cxrvl.tables.canvas import INK, PALETTE, STYLES, new_figure, plain_axes, save
from cxrvl.tables.cells import spread
from cxrvl.tables.synthetic import SYNTHETIC

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = np.linspace(0.0, 1.0, 1001)
"""False-positive rates at which curves are averaged."""
_PANEL = 3.1
_TITLE = 9.5


def roc_points(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The empirical ROC curve of one label.

    positive: (N,) bool; score: (N,) finite. Returns false- and true-positive rates at every distinct threshold, from
    (0, 0) to (1, 1); tied scores move both at once. Raises DataError without a positive or without a negative.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        raise DataError(f"a ROC curve needs both classes; found {positives} positive and {negatives} negative images")
    order = np.argsort(-score, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]
    true = np.cumsum(positive[order])[last]
    false = last + 1 - true
    return np.r_[0.0, false / negatives], np.r_[0.0, true / positives]


def mean_curve(frame: pd.DataFrame, labels: Sequence[str]) -> tuple[np.ndarray, float] | None:
    """The mean true-positive rate of several labels at each false-positive rate of `GRID`, and the area under it.

    frame: predictions of kind findings. Labels with one class only are left out; None when none is left. The area under
    the mean curve is the mean of the labels' AUROCs, hence the table's number; it is computed exactly, not on the grid.
    """
    curves, areas = [], []
    for label in labels:
        target = frame[f"target/{label}"].to_numpy()
        known = (target == 0) | (target == 1)
        positive = target[known] == 1
        if positive.any() and not positive.all():
            false, true = roc_points(positive, frame[f"logit/{label}"].to_numpy(dtype=np.float64)[known])
            curves.append(np.interp(GRID, false, true))
            areas.append(np.trapezoid(true, false))
    return (np.mean(curves, axis=0), float(np.mean(areas))) if curves else None


def roc_figure(
    rows: Mapping[str, Sequence[pd.DataFrame]],
    groups: Mapping[str, Sequence[str]],
    path: Path,
    *,
    title: str,
    note: str = "",
    synthetic: bool = False,
) -> Path:
    """Draw one panel per label group: each row's mean curve over seeds with a band of one sd, and its area.

    rows: display label -> findings predictions, one frame per seed, in table order (rows without seeds are named as
    missing). groups: panel title -> labels; a single label is a group of one. Returns the written path.
    """
    if not groups:
        raise DataError("a ROC figure needs at least one group of labels")
    columns = min(len(groups), 4)
    lines = -(-len(groups) // columns)
    width, height = columns * _PANEL + 0.35, lines * (_PANEL + 0.3) + 0.8
    figure = new_figure(width, height)
    for position, (name, labels) in enumerate(groups.items()):
        axes = figure.add_subplot(lines, columns, position + 1)
        _panel(axes, rows, labels)
        axes.set_title(name, fontsize=_TITLE, color=INK, loc="left")
        if position % columns == 0:
            axes.set_ylabel("Sensitivity", fontsize=9, color=INK)
        if position >= len(groups) - columns:
            axes.set_xlabel("1 − specificity", fontsize=9, color=INK)
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    told = " ".join(
        filter(None, ("Mean over seeds, band ± 1 sd; legend: area in percent.", note, SYNTHETIC if synthetic else ""))
    )
    figure.text(0.02, 0.012, told, fontsize=7.5, color="#555555", ha="left", va="bottom")
    figure.subplots_adjust(
        left=0.55 / width, right=1 - 0.12 / width, bottom=0.72 / height, top=1 - 0.68 / height, wspace=0.16, hspace=0.24
    )
    return save(figure, path)


def _panel(axes: "Axes", rows: Mapping[str, Sequence[pd.DataFrame]], labels: Sequence[str]) -> None:
    plain_axes(axes)
    axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    for number, (row, frames) in enumerate(rows.items()):
        colour, style = PALETTE[number % len(PALETTE)], STYLES[number % len(STYLES)]
        curves = [curve for frame in frames if (curve := mean_curve(frame, labels)) is not None]
        if not curves:
            axes.plot([], [], color=colour, linestyle=style, linewidth=1.5, label=f"{row}: —")
            continue
        stack, areas = np.stack([curve for curve, _ in curves]), np.array([area for _, area in curves])
        mean, sd = stack.mean(axis=0), stack.std(axis=0, ddof=1) if len(stack) > 1 else np.zeros_like(GRID)
        area = spread(float(areas.mean()), float(areas.std(ddof=1)) if len(areas) > 1 else None)
        axes.fill_between(GRID, mean - sd, np.minimum(mean + sd, 1), color=colour, alpha=0.16, linewidth=0, zorder=2)
        axes.plot(
            np.r_[0.0, GRID],
            np.r_[0.0, mean],
            color=colour,
            linestyle=style,
            linewidth=1.5,
            zorder=3,
            label=f"{row}: {area}",
        )
    axes.set(xlim=(-0.01, 1.0), ylim=(0.0, 1.01), aspect="equal")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.legend(loc="lower right", fontsize=7.5, frameon=False, handlelength=2.2, borderaxespad=0.2, labelcolor=INK)

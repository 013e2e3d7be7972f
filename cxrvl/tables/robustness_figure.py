"""How fast does each row lose AUROC as images get worse, drawn from predictions alone?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import DataError
from cxrvl.evaluation.labels import known_targets
from cxrvl.evaluation.robustness_metrics import CLEAN, UNTOUCHED, Condition, by_condition
from cxrvl.evaluation.statistics.auroc import auroc
from cxrvl.tables.canvas import INK, PALETTE, STYLES, new_figure, plain_axes, save
from cxrvl.tables.synthetic import SYNTHETIC

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL = "all corruptions"
_PANEL = 2.5
Curves = dict[str, NDArray[np.float64]]


def robustness_curves(
    frame: pd.DataFrame, labels: Sequence[str], uncertain: str = "ignore"
) -> tuple[list[int], Curves]:
    """Mean AUROC over labels at every severity, 0 being the clean images.

    frame: rows of kind "robustness" of one split, all corruptions at the same severities. Labels with one class only are
    left out. Returns the severities (S,), 0 first, and per corruption, and for `ALL`, the curve (S,).
    Raises DataError where no label has both classes, or corruptions were scored at different severities.
    """
    areas = {condition: _mean_area(part, labels, uncertain) for condition, part in by_condition(frame).items()}
    names = list(dict.fromkeys(name for name, _ in areas if name != CLEAN))
    levels = {name: [severity for one, severity in areas if one == name] for name in names}
    severities = levels[names[0]]
    if any(found != severities for found in levels.values()):
        raise DataError(f"corruptions were scored at different severities: {levels}; draw them apart")
    curves = {name: np.array([areas[UNTOUCHED], *(areas[_key(name, s)] for s in severities)]) for name in names}
    return [0, *severities], curves | {ALL: np.mean(list(curves.values()), axis=0)}


def robustness_figure(
    rows: Mapping[str, Sequence[pd.DataFrame]],
    labels: Sequence[str],
    path: Path,
    *,
    title: str,
    uncertain: str = "ignore",
    synthetic: bool = False,
) -> Path:
    """Draw one panel per corruption and one for all: each row's mean curve over seeds with a band of one sd.

    rows: display label -> robustness predictions, one frame per seed, in table order (rows without seeds are left out).
    Returns the written path; raises DataError where there is nothing to draw.
    """
    found = {name: [robustness_curves(frame, labels, uncertain) for frame in frames] for name, frames in rows.items()}
    curves = {name: seeds for name, seeds in found.items() if seeds}
    if not curves:
        raise DataError("a robustness figure needs the predictions of at least one row")
    severities, first = next(iter(curves.values()))[0]
    panels = [ALL, *(name for name in first if name != ALL)]
    columns = min(len(panels), 4)
    lines = -(-len(panels) // columns)
    width, height = columns * _PANEL + 0.5, lines * (_PANEL + 0.1) + 1.3
    figure = new_figure(width, height)
    every = np.concatenate([one[1][name] for seeds in curves.values() for one in seeds for name in panels])
    for position, name in enumerate(panels):
        axes = figure.add_subplot(lines, columns, position + 1)
        for number, (row, seeds) in enumerate(curves.items()):
            _line(axes, severities, np.stack([one[1][name] for one in seeds]), number, row)
        plain_axes(axes)
        axes.set_title(name, fontsize=9.5, color=INK, loc="left")
        axes.set(ylim=(max(0.0, every.min() - 0.03), min(1.0, every.max() + 0.03)), xticks=severities)
        axes.set_xticklabels(["clean", *map(str, severities[1:])], fontsize=8)
        if position % columns == 0:
            axes.set_ylabel("AUROC", fontsize=9, color=INK)
        if position >= len(panels) - columns:
            axes.set_xlabel("severity", fontsize=9, color=INK)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0.02, 0.3 / height), ncols=min(len(names), 4), fontsize=8,
        frameon=False, labelcolor=INK, handlelength=3,
    )  # fmt: skip
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    told = " ".join(filter(None, ("Mean over seeds, band ± 1 sd.", SYNTHETIC if synthetic else "")))
    figure.text(0.02, 0.012, told, fontsize=7.5, color="#555555", ha="left", va="bottom")
    figure.subplots_adjust(
        left=0.62 / width, right=1 - 0.1 / width, bottom=1.05 / height, top=1 - 0.68 / height, wspace=0.22, hspace=0.32
    )
    return save(figure, path)


def _line(axes: "Axes", severities: list[int], stack: NDArray[np.float64], number: int, row: str) -> None:
    colour, style = PALETTE[number % len(PALETTE)], STYLES[number % len(STYLES)]
    mean, sd = stack.mean(axis=0), stack.std(axis=0, ddof=1) if len(stack) > 1 else np.zeros(stack.shape[1])
    axes.fill_between(severities, mean - sd, np.minimum(mean + sd, 1), color=colour, alpha=0.16, linewidth=0)
    axes.plot(severities, mean, color=colour, linestyle=style, linewidth=1.5, marker="o", markersize=2.5, label=row)


def _mean_area(frame: pd.DataFrame, labels: Sequence[str], uncertain: str) -> float:
    areas = []
    for label in labels:
        targets = known_targets(frame[f"target/{label}"].to_numpy(dtype=np.float32), uncertain)
        known = ~np.isnan(targets)
        areas.append(auroc(frame[f"logit/{label}"].to_numpy()[known], targets[known]))
    defined = [area for area in areas if not np.isnan(area)]
    if not defined:
        raise DataError(f"no AUROC of {', '.join(labels)} exists on these images: each lacks a class")
    return float(np.mean(defined))


def _key(name: str, severity: int) -> Condition:
    return name, severity

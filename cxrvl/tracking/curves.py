"""How did losses and metrics move? history.jsonl as small inline SVG charts, without a library or a script."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from cxrvl.tracking.history import read_history

Points = list[tuple[float, float]]
STAGES = ("train", "val")
COLOURS = {"train": "#E69F00", "val": "#0072B2"}
MORE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#4D4D4D")
NOT_DRAWN = ("epoch", "step")
WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 30, 26
MOST_POINTS = 240
MOST_SERIES = 12


def series_of(folder: Path) -> dict[str, Points]:
    """Return every series of a run's history as (step, value) points; undefined values are left out."""
    series: dict[str, Points] = {}
    for record in read_history(folder):
        step = record.get("step")
        for name, value in record.items():
            if step is not None and name not in NOT_DRAWN and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name, []).append((float(step), float(value)))
    return series


def panels(series: Mapping[str, Points]) -> dict[str, dict[str, Points]]:
    """Group series into charts: train/x and val/x share the chart x, any other a/b goes to the chart a; losses first."""
    charts: dict[str, dict[str, Points]] = {}
    for name in sorted(series):
        first, _, rest = name.partition("/")
        title, label = (rest, first) if first in STAGES and rest else (first, rest or first)
        charts.setdefault(title, {})[label] = series[name]
    order = sorted(charts, key=lambda title: (title != "loss", "val" not in charts[title], title))
    return {title: charts[title] for title in order}


def chart(title: str, lines: Mapping[str, Points]) -> str:
    """Return one chart as an SVG element: a thin mean line per series, ticks, and the last value in the legend."""
    shown = {label: _thinned(points) for label, points in list(lines.items())[:MOST_SERIES] if points}
    if not shown:
        return ""
    xs = [x for points in shown.values() for x, _ in points]
    ys = [y for points in shown.values() for _, y in points]
    x_low, x_high = _range(min(xs), max(xs), 0.0)
    y_low, y_high = _range(min(ys), max(ys), 0.06)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
             f'<text x="8" y="16" class="title">{escape(title)}</text>']  # fmt: skip
    for value in _ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3}" class="tick" text-anchor="end">{_short(value)}</text>')
    for value in _ticks(x_low, x_high):
        x, _ = place(value, y_low)
        parts.append(f'<text x="{x}" y="{HEIGHT - 9}" class="tick" text-anchor="middle">{_short(value)}</text>')
    for number, (label, points) in enumerate(shown.items()):
        colour = COLOURS.get(label, MORE_COLOURS[number % len(MORE_COLOURS)])
        where = [place(x, y) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in where)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<circle cx="{where[-1][0]}" cy="{where[-1][1]}" r="2.4" fill="{colour}"/>')
    return "".join([*parts, _legend(lines, shown), "</svg>"])


def _legend(lines: Mapping[str, Points], shown: Mapping[str, Points]) -> str:
    """Return the names with their last values, right-aligned on the title's line, as many as fit."""
    words = []
    for number, label in enumerate(shown):
        colour = COLOURS.get(label, MORE_COLOURS[number % len(MORE_COLOURS)])
        words.append(f'<tspan fill="{colour}" dx="9">{escape(label)} {_short(lines[label][-1][1])}</tspan>')
    more = f'<tspan dx="9">+{len(words) - 3}</tspan>' if len(words) > 3 else ""
    return f'<text x="{WIDTH - RIGHT}" y="16" class="tick" text-anchor="end">{"".join(words[:3])}{more}</text>'


def _thinned(points: Points) -> Points:
    """Average neighbouring points so that a long run draws as fast as a short one."""
    size = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(_mean([x for x, _ in group]), _mean([y for _, y in group])) for group in groups]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _range(low: float, high: float, margin: float) -> tuple[float, float]:
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        return low - spread, high + spread
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers in a range: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    """Write a number in at most about seven characters."""
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"

"""How do all figures of the project look, and how are they saved without touching global state?"""

import io
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cxrvl.errors import ConfigError
from cxrvl.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#4D4D4D", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
"""Okabe and Ito's colours, told apart with any colour vision; grey first, for the baseline."""
STYLES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)))
"""Line styles that go with the colours, so that a grey print still reads."""
INK = "#222222"
FORMATS = (".png", ".pdf", ".svg")


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of the given size in inches, without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: "Axes") -> None:
    """Only the left and bottom frame, thin, in ink."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=INK, labelsize=8, width=0.8, length=3)


def save(figure: "Figure", path: Path, dpi: int = 200) -> Path:
    """Write the figure atomically as .png, .pdf or .svg, by the path's suffix; the same figure gives the same bytes."""
    from matplotlib import rc_context

    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"cannot write a figure as {path.name!r}; use one of {', '.join(FORMATS)}")
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "cxrvl", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=suffix[1:], dpi=dpi, metadata=dates.get(suffix))
    write_atomic(path, partial(_copy, buffer))
    return path


def _copy(buffer: io.BytesIO, file: IO[bytes]) -> None:
    file.write(buffer.getvalue())


class Sheet:
    """A figure on which things are placed in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = new_figure(width, height)

    def axes(self, x: float, y: float, width: float, height: float) -> "Axes":
        """Axes whose top left corner lies at (x, y)."""
        left, bottom = x / self.width, 1 - (y + height) / self.height
        return self.figure.add_axes((left, bottom, width / self.width, height / self.height))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float,
        align: str = "left",
        weight: str = "normal",
        colour: str = INK,
        rotation: float = 0,
    ) -> None:
        """Text whose top (or middle, when rotated) lies at y."""
        self.figure.text(
            x / self.width, 1 - y / self.height, words, fontsize=size, ha=align, va="center" if rotation else "top",
            fontweight=weight, color=colour, rotation=rotation,
        )  # fmt: skip

    def rule(self, left: float, right: float, y: float) -> None:
        """A thin horizontal line."""
        from matplotlib.lines import Line2D

        height = 1 - y / self.height
        self.figure.add_artist(
            Line2D([left / self.width, right / self.width], [height, height], color=INK, linewidth=0.7)
        )

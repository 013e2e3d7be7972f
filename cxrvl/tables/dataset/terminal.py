"""What is printed of a data set? Counts alone, and single reports only where they are asked for."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cxrvl.data.summary import Summary
from cxrvl.tables.dataset.blocks import Block, blocks, notes, plain
from cxrvl.tables.synthetic import SYNTHETIC

BARS = " ▁▂▃▄▅▆▇█"


def terminal(summary: Summary, more: Sequence[Block | None] = ()) -> RenderableType:
    """Return a data set's numbers for a rich console; more: further blocks, such as `blocks.pixels`."""
    parts: list[RenderableType] = [Text(title(summary), style="bold")]
    if line := synthetic(summary):
        parts.append(Text(line, style="yellow"))
    parts += [Text(f"note: {note}", style="dim") for note in notes(summary)]
    for block in (*blocks(summary), *(block for block in more if block is not None)):
        parts += [Text(""), *_lines(block)]
        if block.title.startswith("Age"):
            parts.append(
                Text(f"ages 0 to {10 * summary.decades.size} by decade: |{sparkline(summary.decades.tolist())}|")
            )
    return Group(*parts)


def title(summary: Summary) -> str:
    """Return the data sets and the number of their rows."""
    return f"{' + '.join(map(plain, summary.datasets))}: {summary.rows:,} {summary.unit}s"


def synthetic(summary: Summary) -> str:
    """Return the sentence on drawn images, with their names where others are real; "" where all are."""
    if not summary.synthetic:
        return ""
    some = len(summary.synthetic) < len(summary.datasets)
    return f"{', '.join(map(plain, summary.synthetic))}: {SYNTHETIC}" if some else SYNTHETIC


def sparkline(values: Sequence[int]) -> str:
    """Draw counts as a line of bars, the largest full; a count above zero is never invisible."""
    most = max(values, default=0)
    return "".join(BARS[0 if not v else max(1, round(v / most * (len(BARS) - 1)))] for v in values)


def example(number: int, heading: str, texts: dict[str, str], said: dict[str, list[str]]) -> RenderableType:
    """Return one report for the terminal: heading, sections, and what the rule labeler reads in them."""
    parts: list[RenderableType] = [Text(f"\n{number}. {plain(heading)}", style="bold")]
    for name, text in texts.items():
        parts.append(Text.assemble((f"{name}: ", "cyan"), plain(text, keep="\n\t")))
    for word, labels in said.items():
        parts.append(Text(f"{word}: {', '.join(labels)}", style="dim"))
    return Group(*parts)


def _lines(block: Block) -> Iterator[RenderableType]:
    yield Text(block.title, style="bold cyan")
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for place, name in enumerate(block.header):
        grid.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in block.rows:
        grid.add_row(*map(Text, row))
    yield grid
    if block.about:
        yield Text(block.about, style="dim")

"""How is a table printed and written: terminal, Markdown, LaTeX and CSV from one result?"""

from functools import partial
from pathlib import Path
from typing import IO

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cxrvl.files import write_atomic
from cxrvl.tables.cells import Block, Document, document
from cxrvl.tables.latex import latex
from cxrvl.tables.result import TableResult


def terminal(result: TableResult, *, full: bool = False) -> RenderableType:
    """The table for a rich console; ``full`` adds the published numbers of other systems, which the files always hold."""
    doc = document(result)
    parts: list[RenderableType] = [Text(doc.title, style="bold"), Text(doc.question, style="italic"), Text("")]
    parts.append(_grid(doc.main))
    parts += [_grid((block,)) for block in doc.further]
    if doc.context and full:
        parts.append(_grid((doc.context,)))
    parts += [Text(line, style="dim") for line in (*doc.caption, *doc.footnotes)]
    parts += [Text(f"Warning: {line}", style="yellow") for line in doc.warnings]
    return Group(*parts)


def _grid(blocks: tuple[Block, ...]) -> Table:
    """Blocks of one header under each other, a titled section each."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    numeric = set.intersection(*(block.numeric() for block in blocks))
    for position, name in enumerate(blocks[0].header):
        grid.add_column(escape(name), justify="right" if position in numeric else "left", overflow="fold")
    for block in blocks:
        grid.add_row(Text(block.title, style="bold cyan"))
        for cells in block.rows:
            grid.add_row(*(Text(cell) for cell in cells))
        grid.add_section()
    return grid


def markdown(result: TableResult) -> str:
    """The table as GitHub-flavoured Markdown, one pipe table per block."""
    doc = document(result)
    lines = [f"# {_md(doc.title)}", ""]
    if doc.question:
        lines += [f"*{_md(doc.question)}*", ""]
    for sentence in doc.warnings:
        lines += [f"> **Warning:** {_md(sentence)}", ""]
    for block in doc.main:
        lines += _md_block(block)
    lines += [line for sentence in doc.caption for line in (_md(sentence), "")]
    if doc.footnotes:
        lines += [*(f"- {_md(note)}" for note in doc.footnotes), ""]
    for block in (*doc.further, *([doc.context] if doc.context else [])):
        lines += _md_block(block)
    return "\n".join(lines).rstrip() + "\n"


def _md_block(block: Block) -> list[str]:
    numeric = block.numeric()
    rule = ("---:" if position in numeric else "---" for position in range(len(block.header)))
    rows = ("| " + " | ".join(_md(cell) for cell in cells) + " |" for cells in (block.header, *block.rows))
    head, *body = rows
    return [f"**{_md(block.title)}**", "", head, "| " + " | ".join(rule) + " |", *body, ""]


def _md(text: str) -> str:
    """Escape what Markdown would read as markup inside a table cell."""
    return "".join(
        "&lt;" if character == "<" else f"\\{character}" if character in "\\|*_`" else character for character in text
    )


def csv(result: TableResult) -> str:
    """The tidy frame as CSV: unrounded fractions, one row per number, empty where there is none."""
    return result.frame.to_csv(index=False, lineterminator="\n")


def write_tables(result: TableResult, folder: Path) -> dict[str, Path]:
    """Write every form of the table into ``folder``, each file atomically.

    Returns the paths by kind: ``markdown``, ``latex``, ``csv`` (the tidy frame), ``seeds`` (one row per run and label)
    ``comparisons``, and ``delong`` (paired tests of single runs). Files are named by the line: ``<line>.md``,
    ``<line>.tex``, ``<line>.csv``, ``<line>.seeds.csv``, ``<line>.comparisons.csv``, ``<line>.delong.csv``.
    """
    doc: Document = document(result)
    contents = {
        "markdown": (".md", markdown(result)),
        "latex": (".tex", latex(doc)),
        "csv": (".csv", csv(result)),
        "seeds": (".seeds.csv", result.seeds.to_csv(index=False, lineterminator="\n")),
        "comparisons": (".comparisons.csv", result.comparisons.to_csv(index=False, lineterminator="\n")),
        "delong": (".delong.csv", result.delong.to_csv(index=False, lineterminator="\n")),
    }
    paths = {}
    for kind, (suffix, text) in contents.items():
        paths[kind] = folder / f"{result.line.name}{suffix}"
        write_atomic(paths[kind], partial(_write, text.encode("utf-8")))
    return paths


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)

"""`cxrvl data show`: what is in a data set, as tables on the terminal and as one page with its radiographs and reports."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrvl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cxrvl.commands.data_examples import Examples
    from cxrvl.data.reports.table import ReportTable
    from cxrvl.data.studies import StudyTable

HELP = "counts, missing values, sizes and report lengths; with --html contact sheets and reports beside images"
WIDTH = 120
"""Of the tables where nobody says how wide the terminal is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `cxrvl data show` takes."""
    parser.add_argument("overrides", nargs="+", metavar="data config", help="such as nih14, and overrides")
    parser.add_argument("--html", metavar="FILE", help="one self-contained page to write; it shows patients' data")
    parser.add_argument("--images", type=int, default=24, help="images of a contact sheet, 0 for none (default 24)")
    parser.add_argument("--reports", type=int, default=12, help="reports on the page, 0 for none (default 12)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other examples (default 0)")
    parser.add_argument("--examples", action="store_true", help="print the reports and image keys on the terminal too")


def run(options: argparse.Namespace) -> None:
    """Print the numbers of a data config's tables and, where asked, write the page.

    Raises:
        ConfigError: an option that cannot be.
        DataError: the table cannot be used, or none of the images looked at can be read.
    """
    _check(options)
    from cxrvl.commands.data_config import data_config
    from cxrvl.commands.data_examples import Examples
    from cxrvl.config.build import build
    from cxrvl.config.check import check_part
    from cxrvl.data.examples import synthetic_parts
    from cxrvl.data.summary import by_dataset, split_conflicts, summarise
    from cxrvl.tables.dataset.blocks import pixels, size

    config = data_config(options.overrides)
    if config["data"].get("store") is not None:
        check_part(config, "data.store")
    source = build(config["data"]["source"])
    table, reports = _tables(config, source)
    drawn = synthetic_parts(source)
    summaries = [summarise(part, drawn) for part in (table, reports) if part is not None]
    if table is not None and reports is not None and (leaking := split_conflicts(table, reports)):
        print(f"warning: {leaking} studies are in one split as images and in another as reports; do not train on both "
              "before source.table() and source.reports() agree", file=sys.stderr)  # fmt: skip
    examples = Examples(source, table, reports, config["data"], options.images, options.reports, options.seed)
    looks = examples.sampled()
    if looks and all(look.pixels is None for look in looks):
        raise DataError(f"none of the {len(looks)} images looked at can be read, first: {looks[0].reason}")
    more = [block for block in (pixels(looks),) if block is not None]
    _print(summaries, more)
    if options.examples:
        _print_examples(examples)
    if options.html:
        from cxrvl.files import write_atomic
        from cxrvl.tables.dataset.page import page

        parts = by_dataset(table, drawn) if table is not None else []
        text = page(summaries, parts, more, examples.sheets(), examples.stories(), local=not source.shareable)
        write_atomic(Path(options.html), lambda file: file.write(text.encode("utf-8", "replace")))
        print(f"\nwrote {options.html} ({size(len(text))})")
    broken = [look for look in examples.looks() if look.pixels is None]
    if broken:
        where = "the page shows" if options.html else "--html FILE shows"
        print(f"warning: {len(broken)} of {len(examples.looks())} images looked at cannot be read; {where} which and why",
              file=sys.stderr)  # fmt: skip


def _check(options: argparse.Namespace) -> None:
    for name in ("images", "reports", "seed"):
        if getattr(options, name) < 0:
            raise ConfigError(f"--{name} is {getattr(options, name)}; expected 0 or more")
    if options.html and Path(options.html).is_dir():
        raise ConfigError(f"--html: {options.html} is a folder; name a file in it")


def _tables(config: Mapping[str, Any], source: Any) -> tuple["StudyTable | None", "ReportTable | None"]:
    """Read what the config uses: rows of images, and reports where they are more than the images' own text.

    A config without an image store is one of reports alone, and the images need not be there.
    """
    from cxrvl.commands.data_config import reports_alone
    from cxrvl.data.selection import SELECTION_KEYS, select
    from cxrvl.data.sources.base import report_table
    from cxrvl.runs.identity import study_table

    data = config["data"]
    chosen = {key: data[key] for key in SELECTION_KEYS if key in data}
    if reports_alone(data, source):
        return None, select(report_table(source), **chosen)
    table = study_table(dict(config))
    if not _has_reports(source, table):
        return table, None
    reports = select(source.reports(), **chosen)
    studies = len(table.frame[["dataset", "study"]].drop_duplicates())
    return table, None if _text(table.frame) and len(reports) <= studies else reports


def _has_reports(source: Any, table: "StudyTable") -> bool:
    """Whether the source has a report table; a mixture has one if each of its parts has reports or text."""
    from cxrvl.data.sources.base import ReportSource
    from cxrvl.data.sources.mixture import Mixture

    if not isinstance(source, Mixture):
        return isinstance(source, ReportSource)
    frame = table.frame
    return all(
        isinstance(part, ReportSource) or _text(frame[frame["dataset"] == name].dropna(axis=1, how="all"))
        for name, part in source.parts.items()
    )


def _text(frame: Any) -> list[str]:
    from cxrvl.data.studies import SECTIONS

    return [name for name in SECTIONS if name in frame]


def _print(summaries: Sequence[Any], more: Sequence[Any]) -> None:
    from cxrvl.tables.dataset.terminal import terminal

    console = _console()
    for number, summary in enumerate(summaries):
        if number:
            console.print()
        console.print(terminal(summary, [] if number else more))


def _print_examples(examples: "Examples") -> None:
    from cxrvl.tables.dataset.terminal import example

    console = _console()
    for number, (heading, texts, said) in enumerate(examples.told(), start=1):
        console.print(example(number, heading, texts, said))


def _console() -> Any:
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else WIDTH, highlight=False)

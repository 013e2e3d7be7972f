"""`cxrvl table`: compute what is missing of a table, and print it beside the paper's."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from cxrvl.errors import RunError
from cxrvl.tables.collect import collect
from cxrvl.tables.compare import compare
from cxrvl.tables.illustrate import illustrate
from cxrvl.tables.render import terminal, write_tables
from cxrvl.tables.reproduce import compute, files_of, table_spec, wanted
from cxrvl.tables.spec import LineSpec, TableSpec


def table(options: argparse.Namespace) -> None:
    """Print the line asked for, or all but those on request; failed runs are reported after all that could be computed.

    Raises:
        RunError: some runs failed.
    """
    spec = table_spec(options.table)
    failures = []
    for line in spec.asked(options.line):
        chosen = replace(line, seeds=tuple(options.seeds)) if options.seeds else line
        failures += _line(spec, chosen, options)
    if failures:
        raise RunError("\n".join([f"{len(failures)} run(s) failed; ask again to retry them", *map(str, failures)]))


def _line(spec: TableSpec, line: LineSpec, options: argparse.Namespace) -> list[str]:
    console = Console(width=None if sys.stdout.isatty() else 160)
    runs = wanted(spec, line, options.overrides)
    missing = [] if options.collect_only else [item for item in runs if not item.done]
    failures = []
    if missing:
        console.print(f"{len(missing)} run(s) to compute; stop at any time, the same command continues")
        failures = compute(spec, missing, options.jobs)
    result = compare(spec, line, collect(line, files_of(line, runs)))
    console.print(terminal(result))
    folder = Path(runs[0].config["paths"]["tables"]) / spec.name
    paths = [*write_tables(result, folder).values(), *illustrate(spec, line, runs, folder)]
    console.print(f"written to {folder}: {', '.join(path.name for path in paths)}", style="dim")
    return [str(failure) for failure in failures]

"""`cxrvl runs tree`: which run started from which, and in which state are they?"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from cxrvl.commands.runs import run_store
from cxrvl.errors import RunError
from cxrvl.runs.lineage import records
from cxrvl.runs.store import Run, RunStore

COLOURS = {"done": "green", "running": "cyan", "queued": "yellow", "failed": "red"}
Records = Mapping[str, Mapping[str, Any]]


def runs_tree(options: argparse.Namespace) -> None:
    """Print every chain of runs in the store, or the one that a run is in.

    Raises:
        RunError: an id that names no run.
    """
    store, console = run_store(options.runs), Console(width=None if sys.stdout.isatty() else 160)
    found = records(store)
    asked = store.find(options.run) if options.run else None
    start = [asked.run_id] if asked is not None else found
    roots = sorted({_root(run_id, found) for run_id in start})
    if not roots:
        console.print(f"no run in {store.root} started from another's weights")
    for root in roots:
        console.print(_tree(root, store, found, asked))


def _origin(record: Mapping[str, Any]) -> str:
    """Return the node a run hangs under: a run's id, or what other weights are called."""
    if "run" in record:
        return str(record["run"])
    named = ", ".join(record["named"])
    if "file" in record:
        return f"file {named} ({record['file'][:19]})"
    return f"published {named} ({record['revision'][:19]})"


def _root(node: str, found: Records) -> str:
    while node in found:
        node = _origin(found[node])
    return node


def _tree(root: str, store: RunStore, found: Records, asked: Run | None) -> Tree:
    children: dict[str, list[str]] = {}
    for run_id, record in found.items():
        children.setdefault(_origin(record), []).append(run_id)

    def grown(node: str, branch: Tree) -> Tree:
        for child in sorted(children.get(node, [])):
            grown(child, branch.add(_label(child, store, found, asked)))
        return branch

    return grown(root, Tree(_label(root, store, found, asked)))


def _label(node: str, store: RunStore, found: Records, asked: Run | None) -> str:
    """Return one line on a run: id, experiment, seed, state, and the parts it took over."""
    if " " in node:  # a file, or published weights
        return escape(node)
    run = store.run(node)
    try:
        status = run.status()
    except RunError:  # one broken run must not hide the others; `show` says what is wrong with it
        status = {"state": "damaged"}
    state = str(status["state"])
    shown = state + (", interrupted" if status.get("interrupted") else "")
    words = [f"[bold]{node}[/bold]" if asked is not None and node == asked.run_id else node]
    if "name" in status:
        words.append(escape(f"{status['name']} seed {status.get('seed')}"))
    elif state == "missing" and _named(node, found):
        words.append(escape(_named(node, found)))
    words.append(f"[{COLOURS.get(state, 'magenta')}]{shown}[/]")
    record = found.get(node)
    if record is not None:
        words.append(escape(_parts(record)))
    return " · ".join(words)


def _named(missing: str, found: Records) -> str:
    """Return how a run that is not there was asked for."""
    names = {" ".join(record["named"]) for record in found.values() if record.get("run") == missing}
    return " or ".join(sorted(names))


def _parts(record: Mapping[str, Any]) -> str:
    if not record["parts"]:
        return "took everything"
    return "took " + ", ".join(mine if mine == its else f"{mine} from {its}" for mine, its in record["parts"].items())

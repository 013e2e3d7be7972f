"""`cxrvl runs tree`: which run started from which, and in which state are they?"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from cxrvl.commands.runs import run_store
from cxrvl.errors import RunError
from cxrvl.runs.lineage import records
from cxrvl.runs.store import Run, RunStore

COLOURS = {"done": "green", "running": "cyan", "queued": "yellow", "failed": "red"}
Records = Mapping[str, Sequence[Mapping[str, Any]]]


def runs_tree(options: argparse.Namespace) -> None:
    """Print every chain of runs in the store, or those that a run is in.

    A run that started from several weights stands under each of them; what started from it is printed once.

    Raises:
        RunError: an id that names no run.
    """
    store, console = run_store(options.runs), Console(width=None if sys.stdout.isatty() else 160)
    found = records(store)
    asked = store.find(options.run) if options.run else None
    start = [asked.run_id] if asked is not None else found
    roots = _roots(start, found)
    if not roots:
        console.print(f"no run in {store.root} started from another's weights")
    grown: set[str] = set()
    for root in roots:
        console.print(_tree(root, store, found, asked, grown))


def _origin(source: Mapping[str, Any]) -> str:
    """Return the node a run hangs under: a run's id, or what other weights are called."""
    if "run" in source:
        return str(source["run"])
    named = ", ".join(source["named"])
    if "file" in source:
        return f"file {named} ({source['file'][:19]})"
    return f"published {named} ({source['revision'][:19]})"


def _roots(nodes: Iterable[str], found: Records) -> list[str]:
    """Return what stands above some runs and under nothing itself, sorted."""
    above, seen = list(nodes), set()
    while above:
        node = above.pop()
        if node not in seen:
            seen.add(node)
            above += [_origin(source) for source in found.get(node, ())]
    return sorted(seen - found.keys())


def _tree(root: str, store: RunStore, found: Records, asked: Run | None, grown: set[str]) -> Tree:
    """Args: grown: the runs with something under them that were printed before; takes up those printed now."""
    children: dict[str, set[str]] = {}
    for run_id, sources in found.items():
        for source in sources:
            children.setdefault(_origin(source), set()).add(run_id)

    def grow(node: str, branch: Tree) -> Tree:
        grown.add(node)
        for child in sorted(children.get(node, ())):
            label = _label(child, store, found, asked, under=node)
            if child in grown and child in children:
                branch.add(f"{label} · see above")
            else:
                grow(child, branch.add(label))
        return branch

    return grow(root, Tree(_label(root, store, found, asked)))


def _label(node: str, store: RunStore, found: Records, asked: Run | None, under: str | None = None) -> str:
    """Return one line on a run: id, experiment, seed, state, the parts it took over from what it stands under, and others."""
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
    sources = found.get(node, ())
    words += [escape(_parts(source)) for source in sources if _origin(source) == under]
    words += [escape(f"{_parts(source)} of {_origin(source)}") for source in sources if _origin(source) != under]
    return " · ".join(words)


def _named(missing: str, found: Records) -> str:
    """Return how a run that is not there was asked for."""
    names = {
        " ".join(source["named"]) for sources in found.values() for source in sources if source.get("run") == missing
    }
    return " or ".join(sorted(names))


def _parts(source: Mapping[str, Any]) -> str:
    if not source["parts"]:
        return "took everything"
    return "took " + ", ".join(mine if mine == its else f"{mine} from {its}" for mine, its in source["parts"].items())

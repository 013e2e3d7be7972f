"""What number does a search look at? One metric of a finished run, by its dotted name."""

from pathlib import Path
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import RunError
from cxrvl.files import read_json
from cxrvl.runs.store import Run
from cxrvl.sweeps.logged import VALIDATION, logged_value


def objective(run_folder: Path, name: str) -> float | None:
    """Return a metric of a run, such as findings.mean.auroc or val/auroc; None where the run has none yet or it is undefined.

    Raises:
        RunError: the run has metrics, but none of that name.
    """
    if name.startswith(VALIDATION):
        return logged_value(run_folder, name, Run(run_folder).config())
    path = run_folder / "metrics.json"
    if not path.is_file():
        return None
    node: Any = read_json(path)
    seen: list[str] = []
    # An entry stands under its evaluation's name and id, and holds its numbers under `values`.
    named = {entry["name"]: entry["values"] for entry in node.values()}
    if name.partition(".")[0] in named:
        node = named
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            where = ".".join(seen) or "the file"
            known = did_you_mean(part, node) if isinstance(node, dict) else ""
            raise RunError(f"metric '{name}': {where} of {path} has no '{part}'{known}")
        node = node[part]
        seen.append(part)
    if node is None:
        return None
    if isinstance(node, bool) or not isinstance(node, (int, float)):
        raise RunError(f"metric '{name}' of {path} is {type(node).__name__}; expected a number: name one within it")
    return float(node)

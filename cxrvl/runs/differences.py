"""What differs between two runs: settings, environment, packages, data, code?"""

import difflib
from collections.abc import Mapping
from typing import Any

from cxrvl.config.dotted import ABSENT, differing
from cxrvl.errors import RunError
from cxrvl.files import read_json
from cxrvl.runs.identity import ENGINE_KEYS, SCIENCE_SECTIONS, SOURCE_LOCATION_KEYS
from cxrvl.runs.store import Run

GROUPS = ("science", "engine", "environment", "packages", "data", "git")
"""science: settings the result depends on; engine: where and on what it is computed, where things lie, names."""

Differences = dict[str, dict[str, tuple[Any, Any]]]


def differences(a: Run, b: Run) -> Differences:
    """Return what differs between two runs, by group, then by dotted key, as the values of `a` and of `b`.

    Groups without a difference are left out, so that alike runs give {}. A key that only one run has is `ABSENT` in
    the other.

    Raises:
        RunError: a run's config or environment record is missing or damaged.
    """
    found: Differences = {group: {} for group in GROUPS}
    for key, pair in differing(a.config(), b.config()).items():
        found["science" if is_science(key) else "engine"][key] = pair
    ours, theirs = _environment(a), _environment(b)
    for group in ("packages", "data"):
        found[group] = differing(ours.pop(group, {}), theirs.pop(group, {}))
    diffs = {"commit": ours.pop("commit", None)}, {"commit": theirs.pop("commit", None)}
    found["git"] = differing(*diffs)
    patches = ours.pop("diff", None) or "", theirs.pop("diff", None) or ""
    if patches[0] != patches[1]:
        found["git"]["diff"] = patches
    found["environment"] = differing(ours, theirs)
    return {group: keys for group, keys in found.items() if keys}


def is_science(key: str) -> bool:
    """Return whether a config key counts among those a run's id is hashed from."""
    section, _, rest = key.partition(".")
    if section not in SCIENCE_SECTIONS:
        return False
    if key == "trainer.accumulate_grad_batches":
        return True
    if key.startswith("data.source.") and SOURCE_LOCATION_KEYS & set(rest.split(".")):
        return False
    return rest.partition(".")[0] not in ENGINE_KEYS.get(section, ())


def sentences(a: Run, b: Run, found: Differences) -> str:
    """Return the differences as a text for the terminal; uncommitted code as the lines that differ between the two."""
    if not found:
        return f"runs {a.run_id} and {b.run_id} do not differ: settings, environment, packages, data and code are alike"
    lines = [f"a: {a.run_id}", f"b: {b.run_id}"]
    for group, keys in found.items():
        lines.append(f"\n{group}")
        width = max(map(len, keys))
        for key, (left, right) in keys.items():
            if (group, key) == ("git", "diff"):
                lines += ["  diff (uncommitted changes, a to b)", *_changed_lines(left, right)]
            else:
                if (group, key) == ("environment", "command") and isinstance(left, list) and isinstance(right, list):
                    words = _words_without(left, right), _words_without(right, left)
                    left, right = words
                lines.append(f"  {key:<{width}}  {_shown(left)}  ->  {_shown(right)}")
    return "\n".join(lines)


def plain(found: Differences) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the differences as JSON-able content; a key that only one run has is missing on the other's side."""
    return {
        group: {
            key: {side: value for side, value in zip("ab", pair, strict=True) if value is not ABSENT}
            for key, pair in keys.items()
        }
        for group, keys in found.items()
    }


def _changed_lines(left: str, right: str) -> list[str]:
    changed = difflib.unified_diff(left.splitlines(), right.splitlines(), lineterm="", n=0)
    return [f"    {line}" for line in changed if not line.startswith(("---", "+++"))]


def _words_without(command: list[str], other: list[str]) -> str:
    """The words of a command that the other one lacks; all of them where it lacks none, but has another order."""
    return " ".join([word for word in command if word not in other] or ([] if set(other) - set(command) else command))


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) and not value else str(value)


def _environment(run: Run) -> dict[str, Any]:
    path = run.folder / "environment.json"
    if not path.is_file():
        raise RunError(
            f"run {run.run_id} has no environment.json in {run.folder}: it was never computed, or the file was removed; "
            "ask for it again (cxrvl train with its overrides.yaml)"
        )
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise RunError(f"{path} is damaged (it holds no record); remove the run it belongs to")
    return dict(content)

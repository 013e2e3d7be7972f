"""Which config wrote this checkpoint, and is it the config of the run it lies in?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrvl.config.dotted import differing
from cxrvl.errors import RunError
from cxrvl.runs.identity import SCIENCE_VERSION, science

SHOWN_KEYS = 8


def origin(run_id: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint records about its run, as plain values: id, scientific config, science version."""
    return {"run_id": run_id, "science": science(config), "science_version": SCIENCE_VERSION}


def refuse_foreign(path: Path, recorded: Mapping[str, Any] | None, expected: Mapping[str, Any], remedy: str) -> None:
    """Refuse a checkpoint that another config wrote.

    Args:
        path: of the checkpoint.
        recorded: its origin; None where it has none.
        expected: origin of the run it lies in.
        remedy: what the user is to do.

    Raises:
        RunError: naming the keys that differ, with both values.
    """
    if recorded is None:
        raise RunError(f"{path} does not say which config wrote it; {remedy}")
    if recorded["run_id"] == expected["run_id"]:
        return
    differences = differing(_compared(recorded), _compared(expected))
    named = [f"{key} is {there!r} there and {here!r} here" for key, (there, here) in differences.items()]
    more = f", and {len(named) - SHOWN_KEYS} more keys" if len(named) > SHOWN_KEYS else ""
    what = ", ".join(named[:SHOWN_KEYS]) + more if named else "the data differ (another study table, split or pixels)"
    raise RunError(
        f"{path} was written by run {recorded['run_id']} under another config, not by run {expected['run_id']}: "
        f"{what}; {remedy}"
    )


def _compared(content: Mapping[str, Any]) -> dict[str, Any]:
    return {**content["science"], "science_version": content["science_version"]}

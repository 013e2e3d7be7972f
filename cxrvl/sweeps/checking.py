"""Can everything the configs of a sweep name be built? Asked in a process of its own, since it imports torch."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from cxrvl.config.check import HYDRA_KEYS, check
from cxrvl.errors import ConfigError, CxrvlError
from cxrvl.runs.making import check_chain
from cxrvl.runs.start import read_starts

WORDS = HYDRA_KEYS | {"init_from"}
"""Keys whose very value decides what is right."""

_checked: set[str] = set()


def check_all(configs: Sequence[dict[str, Any]]) -> None:
    """Check every config; those that differ from a checked one in plain values of the same type alone are not sent.

    Raises:
        ConfigError: of the first config that is not right.
    """
    first: dict[str, dict[str, Any]] = {}
    for config in configs:
        if (key := shape(config)) not in _checked:
            first.setdefault(key, config)
    if not first:
        return
    # In the launcher, torch would cost memory for as long as the sweep lasts.
    done = subprocess.run(
        [sys.executable, "-m", "cxrvl.sweeps.checking"],
        input=json.dumps(list(first.values())), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ConfigError(f"the check of the configs ended with exit code {done.returncode}")
    error = json.loads(done.stdout.splitlines()[-1])
    if error is not None:
        raise ConfigError(error)
    _checked.update(first)


def shape(node: Any, key: str = "") -> str:
    """Return a config with its values replaced by their types, but for what says which target is called and how."""
    if key in WORDS:
        return repr(node)
    if isinstance(node, dict):
        return "{" + ",".join(f"{k}:{shape(v, str(k))}" for k, v in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ",".join(shape(v) for v in node) + "]"
    return type(node).__name__


def main() -> None:
    """Read configs as JSON, print the first error as JSON, or null."""
    try:
        starts: set[str] = set()
        for config in json.load(sys.stdin):
            check(config)
            # Which parts are taken over from which task; the runs themselves are jobs of their own.
            parts = [start.parts for start in read_starts(config)]
            start = json.dumps([config["task"]["_target_"], parts], sort_keys=True)
            if config["init_from"] is not None and start not in starts:
                check_chain(config)
            starts.add(start)
        said = "null"
    except CxrvlError as error:
        said = json.dumps(str(error))
    try:
        print(said, flush=True)
    except BrokenPipeError:  # whoever asked was killed meanwhile
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries again as it ends


if __name__ == "__main__":
    main()

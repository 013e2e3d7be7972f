"""On what, by which code, from which data and by which command was a run computed?"""

import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where this code runs from; a checkout, or the place an installed wheel lies in."""
DIFF_LIMIT = 1_000_000
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG")
HIDDEN = "<hidden>"

_SECRET_KEY = re.compile(r"(^|[._-])(api[_-]?key|key|token|secret|passw(or)?d|credentials?)$", re.IGNORECASE)
_COMMIT_KEY = re.compile(r"(^|\.)revision$")
"""A commit looks like an API key."""
_SECRET_VALUE = re.compile(
    r"(?<=://)[^/@\s]+(?=@)|\b(hf|gh[opsu]|github_pat|sk|wandb_v\d+)[_-]\w{16,}|\b(?:[0-9a-f]{40})\b", re.IGNORECASE
)


def environment(data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a run is computed on: code, packages, interpreter, machine, command.

    Of the process's environment variables only those that set threads and devices are kept.

    Args:
        data: what is known of the run's data: split hash and fingerprint.
    """
    return {
        **git_state(),
        "command": without_secrets(sys.argv),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": {"torch": torch.get_num_threads(), **_variables(THREAD_VARIABLES)},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "devices": {"cuda": torch.version.cuda, **_variables(DEVICE_VARIABLES)},
        "packages": packages(),
        "data": dict(data or {}),
    }


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command line without keys, tokens and passwords: overrides by their key, others by their look."""
    shown = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        hide = bool(equals) and _SECRET_KEY.search(key.strip("+-~")) is not None
        commit = bool(equals) and _COMMIT_KEY.search(key.strip("+-~")) is not None
        shown.append(f"{key}={HIDDEN}" if hide else argument if commit else _SECRET_VALUE.sub(HIDDEN, argument))
    return shown


def cpu_model() -> str:
    """Return the CPU's model name; where the system does not name it, its architecture."""
    names = Path("/proc/cpuinfo")
    if names.is_file():
        for line in names.read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def packages() -> dict[str, str]:
    """Return name and version of everything installed; what a broken installation left without a name is left out."""
    return dict(sorted((d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"]))


def git_state(checkout: Path = CHECKOUT) -> dict[str, str | None]:
    """Return commit and uncommitted diff of a checkout; None for an installed wheel, and, with a warning, without git."""
    if not (checkout / ".git").exists():
        return {"commit": None, "diff": None}
    try:
        return {"commit": _git(checkout, "rev-parse", "HEAD"), "diff": _cut(_git(checkout, "diff", "HEAD"))}
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        log.warning("the run does not record its code: git cannot be asked in %s (%s)", checkout, said)
        return {"commit": None, "diff": None}


def _variables(names: Sequence[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *command], capture_output=True, text=True, errors="replace", check=True, timeout=30
    )
    return done.stdout.strip()


def _cut(diff: str) -> str:
    if len(diff) <= DIFF_LIMIT:
        return diff
    return f"{diff[:DIFF_LIMIT]}\n[cut: {len(diff) - DIFF_LIMIT} more characters]"

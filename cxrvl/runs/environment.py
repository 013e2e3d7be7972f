"""On what, and by which code, was a run computed?"""

import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

DIFF_LIMIT = 1_000_000


def environment() -> dict[str, Any]:
    """Return the git commit and uncommitted diff, package versions, interpreter and device names."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        **git_state(),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "gpus": gpus,
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Return name and version of everything installed; what a broken installation left without a name is left out."""
    return dict(sorted((d.metadata["Name"], d.version) for d in distributions() if d.metadata["Name"]))


def git_state() -> dict[str, str | None]:
    """Return commit and diff of the checkout this code runs from; None for an installed wheel."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return {"commit": None, "diff": None}
    return {"commit": _git(checkout, "rev-parse", "HEAD"), "diff": _git(checkout, "diff", "HEAD")}


def _git(folder: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()[:DIFF_LIMIT]

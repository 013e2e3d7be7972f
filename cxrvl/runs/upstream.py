"""From which weights does a run start?"""

import hashlib
from pathlib import Path
from typing import Any

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.runs.store import RunStore


def weights_file(init_from: dict[str, Any], runs: str) -> Path:
    """Return the file that `init_from` names: `{run: <run id>}` its evaluated weights, `{file: <path>}` itself.

    Raises:
        ConfigError: neither or both are given.
        WeightsError: the file, or the run's weights, are not there.
    """
    if not isinstance(init_from, dict) or set(init_from) not in ({"run"}, {"file"}):
        raise ConfigError(f"init_from is {init_from}; expected {{run: <run id>}} or {{file: <path>}}")
    if "file" in init_from:
        path = Path(init_from["file"])
        if not path.is_file():
            raise WeightsError(f"init_from.file: there is no file {path}")
        return path
    run = RunStore(Path(runs)).find(str(init_from["run"]))
    if run.state() == "done":
        use_best = run.config()["checkpoint"]["use"] == "best"
        for name in ("best.ckpt", "final.ckpt") if use_best else ("final.ckpt",):
            if (run.checkpoints / name).is_file():
                return run.checkpoints / name
    raise WeightsError(f"init_from.run: run {run.run_id} is {run.state()}, it has no weights yet; train it first")


def weights_identity(init_from: dict[str, Any] | None, runs: str) -> str | None:
    """Return the SHA-256 of the weights a run starts from: what they are, not where they lie."""
    if init_from is None:
        return None
    return file_digest(weights_file(init_from, runs))


def file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

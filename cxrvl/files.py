"""How is a small file written so that a crash never leaves half of it?"""

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import yaml

from cxrvl.errors import RunError

_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, six times faster where it is there
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through a temporary file in the same folder, synced, then renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        full = no_room(error)
        if full is not None:
            raise OSError(full.errno, full.strerror, str(path)) from error
        raise


def no_room(error: BaseException | None) -> OSError | None:
    """Return the full disk, quota or file size limit behind an error, if that was its cause: torch.save hides it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error
        error = error.__cause__ or error.__context__
    return None


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN is not JSON and is refused."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`; RunError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); remove it, or the run it belongs to") from error


def write_yaml(path: Path, content: Any) -> None:
    """Write YAML atomically, keys in their given order."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_atomic(path, lambda file: file.write(text.encode()))


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values; RunError where it is damaged."""
    try:
        return yaml.load(path.read_text(), _SAFE)
    except (yaml.YAMLError, ValueError) as error:
        raise RunError(f"{path} is damaged ({' '.join(str(error).split())}); remove the run it belongs to") from error

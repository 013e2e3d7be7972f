"""From which weights does a run start, as its config says it?"""

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, WeightsError
from cxrvl.interop.layouts import layout
from cxrvl.interop.published import published

KINDS = ("run", "file", "published")
WEIGHTS = ("best", "final")
EXPECTED = "expected {run: <overrides or run id>}, {file: <path>} or {published: <name>}, each with parts: [...]"


@dataclass(frozen=True)
class Start:
    """The weights a run starts from.

    Attributes:
        kind: run | file | published.
        source: of a run its overrides, or its id alone; else the one path or name.
        parts: parts of the new model -> parts of the other one; None = the whole model.
        use: best | final, which weights of the run.
        layout: of a file that other code wrote; None = one of cxrvl's, or a plain state dict.
    """

    kind: str
    source: tuple[str, ...]
    parts: dict[str, str] | None = None
    use: str = "best"
    layout: str | None = None

    @property
    def run_id(self) -> str | None:
        """The id, or its first digits, of the run it names; None where it names overrides, or no run."""
        named = self.kind == "run" and len(self.source) == 1 and "=" not in self.source[0]
        return self.source[0] if named else None


def read_start(config: Mapping[str, Any]) -> Start | None:
    """Return what a resolved config's `init_from` says; None where a run starts from its own initialisation.

    Raises:
        ConfigError: a form that is not one of the three.
    """
    node = config.get("init_from")
    if node is None:
        return None
    given = [kind for kind in KINDS if isinstance(node, Mapping) and node.get(kind) is not None]
    if not isinstance(node, Mapping) or len(given) != 1:
        raise ConfigError(f"init_from is {node}; {EXPECTED}")
    kind = given[0]
    known = {*KINDS, "parts"} | {"run": {"use"}, "file": {"layout"}}.get(kind, set())
    for key in node:
        if key not in known:
            raise ConfigError(f"init_from.{key} is no key of {{{kind}: ...}}{did_you_mean(str(key), known)}")
    use = node.get("use", "best")
    if use not in WEIGHTS:
        raise ConfigError(f"init_from.use is {use!r}; expected best or final")
    if node.get("layout") is not None:
        layout(node["layout"])
    return Start(kind, _source(kind, node[kind]), _parts(node.get("parts")), use, node.get("layout"))


def _source(kind: str, value: Any) -> tuple[str, ...]:
    if kind != "run":
        if not isinstance(value, str) or not value:
            raise ConfigError(f"init_from.{kind} is {value!r}; {EXPECTED}")
        return (value,)
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)  # an id without a letter
    if not isinstance(value, str):
        raise ConfigError(f"init_from.run is {value!r}; expected overrides, or a run id in quotes")
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ConfigError(f"init_from.run: cannot split {value!r} into overrides: {error}") from error
    if not words:
        raise ConfigError("init_from.run is empty; expected overrides such as experiment=phantom/none, or a run id")
    return words


def _parts(value: Any) -> dict[str, str] | None:
    """Return mine -> theirs; a list selects parts of the same name on both sides."""
    if isinstance(value, list):
        value = {name: name for name in value}
    if not value and (value is None or isinstance(value, Mapping)):
        return None
    if not isinstance(value, Mapping) or not all(isinstance(n, str) for pair in value.items() for n in pair):
        raise ConfigError(f"init_from.parts is {value!r}; expected [encoder] or {{<part>: <part of the other model>}}")
    return dict(value)


def selected(start: Start) -> dict[str, str] | None:
    """Return mine -> theirs of the parts to load; None = the whole model. What others wrote offers named parts alone."""
    if start.parts is None and start.kind == "published":
        return {part: part for part in published(start.source[0]).parts}
    if start.parts is None and start.layout is not None:
        return {part: part for part in layout(start.layout).whole}
    return start.parts


def starts_whole(config: Mapping[str, Any]) -> bool:
    """Return whether every weight of a new model is replaced, so that the published ones it names are not needed."""
    start = read_start(config)
    return start is not None and selected(start) is None


def start_identity(start: Start, upstream: str | None) -> dict[str, Any]:
    """Return what the weights a run starts from are: the run that makes them, or their content; never where they lie.

    Args:
        upstream: id of the run they come from, where they do.
    """
    if start.kind == "run":
        return {"run": upstream, "use": start.use, "parts": selected(start)}
    if start.kind == "file":
        as_whose = {} if start.layout is None else {"layout": start.layout}
        return {"file": f"sha256:{file_digest(start_file(start))}", "parts": selected(start), **as_whose}
    name = start.source[0]
    return {"published": name, "revision": published(name).revision, "parts": selected(start)}


def start_file(start: Start) -> Path:
    """Return the file of `{file: <path>}`.

    Raises:
        WeightsError: it is not there.
    """
    path = Path(start.source[0])
    if not path.is_file():
        raise WeightsError(f"init_from.file: there is no file {path}")
    return path


def file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""From which weights does a run start, as its config says it?"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, WeightsError
from cxrvl.interop.layouts import layout
from cxrvl.interop.published import published

KINDS = ("run", "file", "published")
WEIGHTS = ("best", "final")
EXPECTED = (
    "expected {run: <overrides or run id>}, {file: <path>} or {published: <name>}, each with parts: [...], "
    "or a list of these"
)


@dataclass(frozen=True)
class Start:
    """Weights a run starts from: all of them, or one source among several.

    Attributes:
        kind: run | file | published.
        source: of a run its overrides, or its id alone; else the one path or name.
        parts: parts of the new model -> parts of the other one; None = the whole model.
        use: best | final, which weights of the run.
        layout: of a file that other code wrote; None = one of cxrvl's, or a plain state dict.
        key: where the config says so: init_from, or init_from[1] of a list.
    """

    kind: str
    source: tuple[str, ...]
    parts: dict[str, str] | None = None
    use: str = "best"
    layout: str | None = None
    key: str = field(default="init_from", compare=False)

    def __str__(self) -> str:
        """Name it in a message."""
        return f"{self.key} ({self.kind} {' '.join(self.source)})"

    @property
    def run_id(self) -> str | None:
        """The id, or its first digits, of the run it names; None where it names overrides, or no run."""
        named = self.kind == "run" and len(self.source) == 1 and "=" not in self.source[0]
        return self.source[0] if named else None


def read_starts(config: Mapping[str, Any]) -> tuple[Start, ...]:
    """Return what a resolved config's `init_from` says, in its order; () where a run starts from its own initialisation.

    Raises:
        ConfigError: a form that is not one of the three; of several sources, one that names no parts, or two that name
            the same part of the new model.
    """
    node = config.get("init_from")
    if node is None:
        return ()
    if not isinstance(node, list):
        return (_read(node, "init_from"),)
    if not node:
        raise ConfigError(
            f"init_from is []; init_from=null starts from the model's own initialisation, else {EXPECTED}"
        )
    starts = tuple(_read(element, f"init_from[{place}]") for place, element in enumerate(node))
    if len(starts) > 1:
        _refuse_clashes(starts)
    return starts


def _refuse_clashes(starts: Sequence[Start]) -> None:
    """Refuse what is wrong with several sources whatever the model; see `cxrvl.runs.parts` for parts within others."""
    owner: dict[str, Start] = {}
    for start in starts:
        if start.parts is None:
            raise ConfigError(
                f"{start} names no parts; of several sources, each says which parts it gives: parts: [...]"
            )
        for part in start.parts:
            if part in owner:
                raise ConfigError(f"'{part}' is given by both {owner[part]} and {start}; leave it to one of them")
            owner[part] = start


def _read(node: Any, key: str) -> Start:
    given = [kind for kind in KINDS if isinstance(node, Mapping) and node.get(kind) is not None]
    if not isinstance(node, Mapping) or len(given) != 1:
        raise ConfigError(f"{key} is {node}; {EXPECTED}")
    kind = given[0]
    known = {*KINDS, "parts"} | {"run": {"use"}, "file": {"layout"}}.get(kind, set())
    for name in node:
        if name not in known:
            raise ConfigError(f"{key}.{name} is no key of {{{kind}: ...}}{did_you_mean(str(name), known)}")
    use = node.get("use", "best")
    if use not in WEIGHTS:
        raise ConfigError(f"{key}.use is {use!r}; expected best or final")
    if node.get("layout") is not None:
        layout(node["layout"])
    parts = _parts(node.get("parts"), key)
    return Start(kind, _source(kind, node[kind], key), parts, use, node.get("layout"), key)


def _source(kind: str, value: Any, key: str) -> tuple[str, ...]:
    if kind != "run":
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{key}.{kind} is {value!r}; {EXPECTED}")
        return (value,)
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)  # an id without a letter
    if not isinstance(value, str):
        raise ConfigError(f"{key}.run is {value!r}; expected overrides, or a run id in quotes")
    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ConfigError(f"{key}.run: cannot split {value!r} into overrides: {error}") from error
    if not words:
        raise ConfigError(f"{key}.run is empty; expected overrides such as experiment=phantom/none, or a run id")
    return words


def _parts(value: Any, key: str) -> dict[str, str] | None:
    """Return mine -> theirs; a list selects parts of the same name on both sides."""
    if isinstance(value, list):
        value = {name: name for name in value}
    if not value and (value is None or isinstance(value, Mapping)):
        return None
    if not isinstance(value, Mapping) or not all(isinstance(n, str) for pair in value.items() for n in pair):
        raise ConfigError(f"{key}.parts is {value!r}; expected [encoder] or {{<part>: <part of the other model>}}")
    return dict(value)


def selected(start: Start) -> dict[str, str] | None:
    """Return mine -> theirs of the parts to load; None = the whole model. What others wrote offers named parts alone."""
    if start.parts is None and start.kind == "published":
        return {part: part for part in published(start.source[0]).parts}
    if start.parts is None and start.layout is not None:
        return {part: part for part in layout(start.layout).whole}
    return start.parts


def starts_whole(config: Mapping[str, Any]) -> bool:
    """Return whether every weight of a new model is replaced, so that the published ones it names are not needed.

    Several sources give parts alone, never the whole: what no part holds stays as the new model was made.
    """
    starts = read_starts(config)
    return len(starts) == 1 and selected(starts[0]) is None


def start_identity(start: Start, upstream: str | None) -> dict[str, Any]:
    """Return what weights to start from are: the run that makes them, or their content; never where they lie.

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


def starts_identity(starts: Sequence[Start], upstream: Sequence[str | None]) -> dict[str, Any] | list[Any] | None:
    """Return what all the weights a run starts from are; the same however a config orders or divides them.

    Args:
        upstream: per source, the id of the run it comes from, where it does.

    Returns:
        None without a source; of one, what `start_identity` says; of several, a list.
    """
    found: dict[str, dict[str, Any]] = {}
    for start, run_id in zip(starts, upstream, strict=True):
        one = start_identity(start, run_id)
        weights = json.dumps({key: value for key, value in one.items() if key != "parts"}, sort_keys=True)
        if weights in found:  # parts taken one by one from the same weights are as good as taken at once
            one["parts"] = {**found[weights]["parts"], **one["parts"]}
        found[weights] = one
    if len(found) < 2:
        return next(iter(found.values()), None)
    return [found[weights] for weights in sorted(found)]


def start_file(start: Start) -> Path:
    """Return the file of `{file: <path>}`.

    Raises:
        WeightsError: it is not there.
    """
    path = Path(start.source[0])
    if not path.is_file():
        raise WeightsError(f"{start.key}.file: there is no file {path}")
    return path


def file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

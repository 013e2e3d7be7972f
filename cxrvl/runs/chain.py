"""Which runs must come before a run, as the configs say it, whether or not any of them exists?"""

import copy
import json
from dataclasses import dataclass
from typing import Any

from cxrvl.config.compose import hydra_session, resolved
from cxrvl.errors import ConfigError
from cxrvl.runs.inherit import composed, upstream_overrides
from cxrvl.runs.start import Start, read_starts

LONGEST = 64


@dataclass(frozen=True, eq=False)
class Upstream:
    """A run another one starts from: the overrides that compose it, its resolved config, and what it starts from."""

    overrides: tuple[str, ...]
    config: dict[str, Any]
    before: "Before"


Before = tuple[Upstream | None, ...]
"""Per source of a config's `init_from`, in order, the run it names by overrides; None where it names none so."""


def upstream(config: dict[str, Any]) -> Before:
    """Return the runs a resolved config starts from by their overrides; one that several start from is there once.

    A run named by its id ends a branch: what it started from, it had when it was made.

    Raises:
        ConfigError: a run does not compose, or a branch comes back to itself.
    """
    with hydra_session():
        return _before(config, [], {})


def _before(config: dict[str, Any], above: list[str], known: dict[str, Upstream]) -> Before:
    """Args: above: the configs that led here, as text; known: the runs found so far, by their configs."""
    above = [*above, _text(config)]
    return tuple(_upstream(start, config, above, known) for start in read_starts(config))


def _upstream(start: Start, config: dict[str, Any], above: list[str], known: dict[str, Upstream]) -> Upstream | None:
    if start.kind != "run" or start.run_id is not None:
        return None
    words = upstream_overrides(start.source, config)
    config = copy.deepcopy(resolved(composed(words)))
    text = _text(config)
    if text in above or len(above) > LONGEST:
        names = " from ".join(str(c["name"]) for c in (*map(json.loads, above), config))
        raise ConfigError(f"init_from comes back to itself: {names}; let one of them start from nothing")
    if text not in known:
        known[text] = Upstream(words, config, _before(config, above, known))
    return known[text]


def _text(config: dict[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)

"""Which runs must come before a run, as the configs say it, whether or not any of them exists?"""

import copy
import json
from dataclasses import dataclass
from typing import Any

from cxrvl.config.compose import hydra_session, resolved
from cxrvl.errors import ConfigError
from cxrvl.runs.inherit import composed, upstream_overrides
from cxrvl.runs.start import read_start

LONGEST = 64


@dataclass(frozen=True)
class Upstream:
    """A run another one starts from: the overrides that compose it, and its resolved config."""

    overrides: tuple[str, ...]
    config: dict[str, Any]


def chain(config: dict[str, Any]) -> list[Upstream]:
    """Return the runs a resolved config starts from by their overrides, the nearest first; [] where it names none.

    A run named by its id ends the chain: what it started from, it had when it was made.

    Raises:
        ConfigError: a link does not compose, or the chain comes back to itself.
    """
    links: list[Upstream] = []
    seen = [_text(config)]
    with hydra_session():
        while (start := read_start(config)) is not None and start.kind == "run" and start.run_id is None:
            words = upstream_overrides(start.source, config)
            config = copy.deepcopy(resolved(composed(words)))
            links.append(Upstream(words, config))
            if _text(config) in seen or len(links) > LONGEST:
                names = " from ".join(str(c["name"]) for c in (*map(json.loads, seen), config))
                raise ConfigError(f"init_from comes back to itself: {names}; let one of them start from nothing")
            seen.append(_text(config))
    return links


def _text(config: dict[str, Any]) -> str:
    return json.dumps(config, sort_keys=True)

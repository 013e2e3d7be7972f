"""Which rewritings are there, and how are several applied with one seed?"""

import hashlib
import struct
from collections.abc import Callable, Mapping

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.edits import Change, Styled
from cxrvl.data.reports.style import abbreviating, noise, structure, wording
from cxrvl.errors import ConfigError

Style = Callable[[str, np.random.Generator, float], Styled]

IMPRESSION_ONLY = "impression_only"
STYLES: Mapping[str, Style] = {
    "expand": abbreviating.expand,
    "abbreviate": abbreviating.abbreviate,
    "synonyms": wording.synonyms,
    "negations": wording.negations,
    "shuffle": structure.shuffle,
    "merge": structure.merge,
    "split": structure.split,
    "anatomy": structure.anatomy,
    "omit": structure.omit,
    IMPRESSION_ONLY: structure.impression_only,
    "typing_errors": noise.typing_errors,
    "case": noise.case,
    "punctuation": noise.punctuation,
}
"""All rewritings by name. `anatomy`, `omit` and `impression_only` leave things out; the others keep every statement."""

KEEPING = tuple(name for name in STYLES if name not in ("anatomy", "omit", IMPRESSION_ONLY))
"""Those that keep every statement."""


def check_styles(strengths: Mapping[str, float]) -> None:
    """Refuse unknown names and strengths outside [0, 1]; ConfigError names the nearest."""
    for name, strength in strengths.items():
        if name not in STYLES:
            raise ConfigError(f"unknown report style '{name}'{did_you_mean(name, list(STYLES))}")
        if not 0 <= strength <= 1:
            raise ConfigError(f"strength of report style '{name}' is {strength}; expected 0 (never) to 1 (everywhere)")


def style_generator(seed: int, epoch: int, key: str, name: str) -> np.random.Generator:
    """Return the random numbers of one style of one report: a pure hash of seed, epoch, report and style."""
    return _keyed(_generator(), seed, epoch, key, name)


def _generator() -> np.random.Generator:
    """A generator without its key; making one takes longer than the draws of a style."""
    return np.random.Generator(np.random.Philox(_NoSeed()))  # type: ignore[arg-type]  # numpy.org: any ISeedSequence


class _NoSeed(ISeedSequence):
    """Keeps Philox from asking the system for entropy (18 us): its key is set afterwards."""

    def generate_state(self, n_words: int, dtype: object = np.uint32) -> np.ndarray:
        """Return zeros."""
        return np.zeros(n_words, dtype=np.uint64)


_KEY = struct.Struct("<2Q")
_NONE = (0, 0, 0, 0)


def _keyed(generator: np.random.Generator, seed: int, epoch: int, key: str, name: str) -> np.random.Generator:
    """Begin a generator anew: just as if Philox were made with this key."""
    word = hashlib.sha256(f"{seed}\0{epoch}\0{key}\0{name}".encode("utf-8", "surrogatepass")).digest()
    generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": _NONE, "key": _KEY.unpack_from(word)},
        "buffer": _NONE,
        "buffer_pos": len(_NONE),  # used up
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator


def apply(text: str, strengths: Mapping[str, float], *, seed: int, key: str, epoch: int = 0) -> Styled:
    """Rewrite a text by several styles, in the order given.

    Args:
        strengths: style -> how much of what it could change it changes, in [0, 1].
        seed, epoch, key: the same give the same text, whatever was rewritten before; key names the report.

    Returns:
        The text; `changes` of the last style lie at their places, those of earlier ones at the places they had then.
    """
    check_styles(strengths)
    changes: list[Change] = []
    generator = _generator()
    for name, strength in strengths.items():
        styled = STYLES[name](text, _keyed(generator, seed, epoch, key, name), strength)
        text = styled.text
        changes += styled.changes
    return Styled(text, tuple(changes))

"""What would a list of labels say of a report? A sentence made by the rule labeler, and a key for reports alike."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cxrvl.data.labeler import OBSERVATIONS, Labeler
from cxrvl.data.reports.texts import Texts
from cxrvl.data.triplets.triplet import WHOLE, TripletTask, check_section, section
from cxrvl.errors import ConfigError

PRESENT, ABSENT, UNCERTAIN = 1.0, 0.0, -1.0
NO_FINDING, NORMAL = "No Finding", "normal"
_WORDS = {PRESENT: "Present", UNCERTAIN: "Possible", ABSENT: "Absent"}
_LABELER = Labeler("chexpert")


@dataclass(frozen=True)
class LabelSentences(TripletTask):
    """A report, or one section of it, and a sentence of what the rule labeler finds in it (14 observations of CheXpert).

    of: a section, or `report`. absent: name also what the report denies.
    """

    of: str = WHOLE
    absent: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_section(self.of)

    def pair(self, texts: Texts, item: int, epoch: int) -> tuple[str, str] | None:
        """Return the text and its sentence; None where the labeler finds nothing to say."""
        text = section(texts, item, self.of)
        sentence = label_sentence(text, self.absent) if text else ""
        return (text, sentence) if sentence else None


@lru_cache(maxsize=65536)
def observations(text: str) -> tuple[float, ...]:
    """What a text says of each of the 14 observations: 1, 0, -1, NaN."""
    found = _LABELER.label(text)
    return tuple(float(found[name]) for name in OBSERVATIONS)


def label_sentence(text: str, absent: bool = True) -> str:
    """Say in words what the labeler finds, such as "Present: edema. Absent: pneumothorax."; "" where it is nothing."""
    said = dict(zip(OBSERVATIONS, observations(text), strict=True))
    pieces = []
    for value in (PRESENT, UNCERTAIN, ABSENT) if absent else (PRESENT, UNCERTAIN):
        names = [name.lower() for name in OBSERVATIONS if said[name] == value and name != NO_FINDING]
        if names:
            pieces.append(f"{_WORDS[value]}: {', '.join(names)}.")
    if said[NO_FINDING] == PRESENT:
        pieces.insert(0, "No abnormal finding.")
    return " ".join(pieces)


def label_set(text: str) -> str:
    """Name what a text claims or suspects, the same for reports with the same findings; "" where it says nothing."""
    said = dict(zip(OBSERVATIONS, observations(text), strict=True))
    found = [
        f"{name}={value:g}" for name, value in said.items() if value in (PRESENT, UNCERTAIN) and name != NO_FINDING
    ]
    if found:
        return ";".join(found)
    return NORMAL if any(not np.isnan(value) for value in said.values()) else ""


def number_of(word: str, kind: str = "") -> int:
    """Return a non-negative number for a word, the same in every process; -1, which equals none, for "".

    kind: the same word has another number as another kind of thing.
    """
    if not word:
        return -1
    named = f"{kind}\0{word}" if kind else word
    return int.from_bytes(hashlib.sha256(named.encode("utf-8", "surrogatepass")).digest()[:8], "little") >> 1


def check_keys(names: tuple[str, ...]) -> None:
    """Refuse unknown kinds of false negatives."""
    for name in names:
        if name not in ("text", "labels"):
            raise ConfigError(f"data.false_negatives names {name!r}; expected text, labels, or none of them: []")

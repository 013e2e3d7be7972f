"""The labeler in other houses: telegram style, letters, forms, lists and run-ons, old and new wordings; own sentences."""

import csv
from pathlib import Path

import pytest

from cxrvl.data.labeler import Labeler, mentions
from cxrvl.data.reports.cleaning import clean

FINDINGS = Labeler("findings")
MEANS = {"P": 1.0, "N": 0.0, "U": -1.0, "X": None}

# P present, N absent, U uncertain, X not mentioned; several letters where readers may differ. "\n" is a line's end.
SAID = [
    (text.replace(r"\n", "\n"), said)
    for text, said in csv.reader(
        (Path(__file__).parent / "other_houses.tsv").read_text(encoding="utf-8").splitlines()[1:],
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
]


def wrong(text: str, said: str) -> dict[str, float | None]:
    """The findings that the labeler reads otherwise."""
    found = FINDINGS.label(clean(text))
    pairs = (part.rsplit(":", 1) for part in said.split(", "))
    return {
        name: found.get(name) for name, letters in pairs if found.get(name) not in {MEANS[letter] for letter in letters}
    }


def test_what_is_said_in_other_houses():
    assert {text: bad for text, said in SAID if (bad := wrong(text, said))} == {}


def test_a_wrong_reading_would_be_seen():
    assert wrong("No effusion.", "Effusion:P") == {"Effusion": 0.0}


@pytest.mark.parametrize("change", [str.upper, str.lower], ids=["capitals", "small letters"])
def test_case_changes_nothing(change):
    texts = [text for text, _ in SAID if "\n" not in text and ". " not in text]
    differ = [text for text in texts if FINDINGS.label(change(text)) != FINDINGS.label(text)]
    assert differ == []


def test_stems_hide_nothing(monkeypatch):
    """A sentence is judged alike where every expression is tried, whatever its words."""
    texts = [clean(text) for text, _ in SAID]
    quick = [mentions.mentions(text) for text in texts]
    everything = (set(range(len(mentions._rules().findings))), set(mentions._context().stems))
    monkeypatch.setattr(mentions, "_signs", lambda text: everything)
    slow = [mentions.mentions(text) for text in texts]
    assert [(t, a, b) for t, a, b in zip(texts, quick, slow, strict=True) if a != b] == []

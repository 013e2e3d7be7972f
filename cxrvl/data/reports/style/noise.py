"""Typing errors, another case, other punctuation."""

import re

import numpy as np

from cxrvl.data.reports.edits import Edit, Styled, apply_edits
from cxrvl.data.reports.sentences import split_sentences

TYPING_RATE = 0.1
"""Share of the words that are mistyped at strength 1: more and a reader could not read it either."""
SHORTEST = 5
"""Shorter words are left alone: one letter would make another word of them ("no" - "on")."""

_WORD = re.compile(r"[A-Za-z]+")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {letter: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in _ROWS for i, letter in enumerate(row)}


def typing_errors(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Mistype letters inside long words: swapped, left out, doubled, or a neighbour on the keyboard."""
    edits, words = [], list(_WORD.finditer(text))
    for number in np.flatnonzero(rng.random(len(words)) < strength * TYPING_RATE).tolist():
        match = words[number]
        word = match[0]
        if len(word) < SHORTEST or word.isupper():
            continue
        kind, place = int(rng.integers(4)), 1 + int(rng.integers(len(word) - 2))
        letter = word[place]
        if kind == 0 and word[place] == word[place + 1]:
            kind = 1
        near = _NEIGHBOURS[letter.lower()]
        mistyped = (
            word[:place] + word[place + 1] + letter + word[place + 2 :],
            word[:place] + word[place + 1 :],
            word[:place] + letter + word[place:],
            word[:place] + near[int(rng.integers(len(near)))] + word[place + 1 :],
        )[kind]
        edits.append(Edit(match.start(), match.end(), mistyped, "typing_errors"))
    return apply_edits(text, edits)


def case(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Write whole sentences in capitals, or without them, each with probability `strength`."""
    edits, spans = [], split_sentences(text)
    for span, (drawn, other) in zip(spans, rng.random((len(spans), 2)).tolist(), strict=True):
        sentence = span.of(text)
        if drawn < strength and sentence.isascii():
            edits.append(Edit(span.start, span.end, sentence.upper() if other < 0.5 else sentence.lower(), "case"))
    return apply_edits(text, edits)


def punctuation(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Double or drop the full stop of sentences (a line break then ends them), each with probability `strength`."""
    edits, spans = [], split_sentences(text)
    for number, (drawn, other) in enumerate(rng.random((len(spans), 2)).tolist()):
        span, doubled = spans[number], other < 0.5
        if drawn >= strength or text[span.end - 1] != ".":
            continue
        after = spans[number + 1].start if number + 1 < len(spans) else len(text)
        if doubled or number + 1 == len(spans):
            edits.append(Edit(span.end - 1, span.end, ".." if doubled else "", "punctuation"))
        else:
            edits.append(Edit(span.end - 1, after, "\n\n", "punctuation"))
    return apply_edits(text, edits)

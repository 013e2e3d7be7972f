"""Abbreviations written out, and phrases abbreviated."""

import numpy as np

from cxrvl.data.reports.abbreviations import contraction, contractions, expansions
from cxrvl.data.reports.edits import Styled, apply_edits


def expand(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Write out abbreviations; ambiguous ones only where their sentence decides."""
    edits = [edit for edit in expansions(text) if rng.random() < strength]
    return apply_edits(text, edits)


def abbreviate(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Abbreviate phrases that have an abbreviation of one meaning."""
    places = contractions(text)
    edits = [
        contraction(text, start, end, shorts[int(number * len(shorts))])
        for (start, end, shorts), (drawn, number) in zip(places, rng.random((len(places), 2)).tolist(), strict=True)
        if drawn < strength
    ]
    return apply_edits(text, edits)

"""Abbreviations written out, and phrases abbreviated."""

import numpy as np

from cxrvl.data.reports.abbreviations import contractions, expansions
from cxrvl.data.reports.edits import Styled, apply_edits


def expand(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Write out abbreviations; ambiguous ones only where their sentence decides."""
    edits = [edit for edit in expansions(text) if rng.random() < strength]
    return apply_edits(text, edits)


def abbreviate(text: str, rng: np.random.Generator, strength: float) -> Styled:
    """Abbreviate phrases that have an abbreviation of one meaning."""
    edits = []
    for choices in contractions(text):
        chosen, number = rng.random() < strength, int(rng.random() * len(choices))
        if chosen:
            edits.append(choices[number])
    return apply_edits(text, edits)

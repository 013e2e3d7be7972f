"""How is a text changed at several places at once, and where do the changes lie afterwards?"""

from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """Replace characters [start, end) of a text; `kind` says why."""

    start: int
    end: int
    replacement: str
    kind: str


class Change(NamedTuple):
    """What was changed: characters [start, end) of the new text now read `after`, where `before` stood."""

    kind: str
    start: int
    end: int
    before: str
    after: str


class Styled(NamedTuple):
    """A rewritten text and every change, in order of place; none if nothing was changed."""

    text: str
    changes: tuple[Change, ...] = ()


def apply_edits(text: str, edits: Iterable[Edit]) -> Styled:
    """Apply edits; of two that overlap the earlier (at one place, the longer) wins; those that change nothing are none."""
    pieces: list[str] = []
    changes: list[Change] = []
    place = length = 0
    for start, end, replacement, kind in sorted(edits, key=lambda e: (e.start, -e.end)):
        before = text[start:end]
        if start < place or before == replacement:
            continue
        pieces += [text[place:start], replacement]
        length += start - place
        changes.append(Change(kind, length, length + len(replacement), before, replacement))
        length += len(replacement)
        place = end
    pieces.append(text[place:])
    return Styled("".join(pieces), tuple(changes))

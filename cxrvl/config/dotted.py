"""What are the keys of nested settings, written with dots?"""

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with its dotted key; an empty section counts as a leaf, a list as one value."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ, with both values; `ABSENT` stands for a key only one of them has."""
    left, right = dict(dotted(a)), dict(dotted(b))
    return {
        key: (left.get(key, ABSENT), right.get(key, ABSENT))
        for key in [*left, *(k for k in right if k not in left)]
        if left.get(key, ABSENT) != right.get(key, ABSENT)
    }


class _Absent:
    """A value that is not there, which is something else than null."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()

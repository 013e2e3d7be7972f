"""Which words does a house style have? Its YAML file, read once and checked.

A style's lists hold alternatives, one of which is drawn; "" says nothing. In braces stand slots: {g} a word for the
grade, {side}, {zone}, {zones} (zone and side in one), {reach}, {size}, {ratio} (heart over thorax), {cavity}; frames
take {np} and {a_np} (a phrase without and with its article) or {noun}, with {is} and {has} in its number. Frames and
short forms are listed by the change since the visit before; `doubtful` frames, where a style has them, say of a barely
visible finding that it may be there.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any

from cxrvl.errors import ConfigError

STYLES = ("prose", "terse", "verbose")
SLOTS = frozenset({
    "g", "side", "zone", "zones", "reach", "size", "ratio", "cavity", "np", "a_np", "noun", "is", "has", "before",
    "convex", "tip", "device", "days", "weeks", "age", "sex",
})  # fmt: skip
NEEDED = frozenset({
    "sections", "headers", "words", "grades", "counted", "plural", "phrases", "cavity", "frames", "short", "nouns",
    "gone", "size_change", "meaning", "deny", "shift", "bones", "scoliosis", "rotated", "normal", "no_acute", "devices",
    "new_device", "removed", "device_names",
})  # fmt: skip


@cache
def grammar(style: str) -> Mapping[str, Any]:
    """Return a style's lists; ConfigError for an unknown style, a missing list or an unknown slot."""
    if style not in STYLES:
        raise ConfigError(f"phantom reports: no house style {style!r}; choose one of {list(STYLES)}.")
    lists = _read(style)
    if missing := sorted(NEEDED - set(lists)):
        raise ConfigError(f"phantom reports: {style}.yaml lacks {missing}.")
    for text in _texts(lists):
        unknown = {name for _, name, _, _ in Formatter().parse(text) if name is not None} - SLOTS
        if unknown:
            raise ConfigError(f"phantom reports: {style}.yaml has the unknown slot {sorted(unknown)} in {text!r}.")
    return lists


def _read(style: str) -> dict[str, Any]:
    import yaml

    text = files("cxrvl.data.phantom.reports").joinpath(f"{style}.yaml").read_text(encoding="utf-8")
    lists: dict[str, Any] = yaml.safe_load(text)
    base = lists.pop("extends", None)
    return {**_read(base), **lists} if base else lists


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [text for part in parts for text in _texts(part)]

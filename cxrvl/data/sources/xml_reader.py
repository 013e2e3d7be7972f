"""How is an XML file of unknown origin read? Without document types or entities, and never beyond stated sizes."""

import re
import xml.etree.ElementTree as ET
from xml.parsers import expat

from cxrvl.errors import DataError

LARGEST = 1_000_000
"""Bytes of one file; the largest report of Open-i has 9,000."""
DEEPEST = 64
"""Levels of elements; Open-i has 8."""


def parse_xml(raw: bytes, origin: str) -> ET.Element:
    """Parse one file's bytes and return its root element.

    The encoding is the declared one, else UTF-8 or UTF-16. Raises DataError naming `origin` for a document type or an
    entity (both can make a small file huge, or read other files), for anything that is not well-formed XML, for bytes
    that are not in the declared encoding, and for more than `LARGEST` bytes or `DEEPEST` levels.
    """
    if not raw.strip():
        raise DataError(f"{origin}: the file is empty; expected one XML report: fetch it again, or remove it")
    if len(raw) > LARGEST:
        raise DataError(f"{origin}: it has more than {LARGEST:,} bytes; expected one XML report per file")
    tree = ET.TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise DataError(f"{origin}: its elements lie more than {DEEPEST} levels deep; this is no report")
        tree.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(tag)

    def refuse(*_: object) -> None:
        raise DataError(
            f"{origin}: it declares a document type or entities, which a report never needs and which can be an attack; "
            "remove the declaration, or fetch the file again"
        )

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = tree.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(raw, True)
    # A declared encoding that Python knows but expat cannot use is a ValueError, one that nobody knows a LookupError.
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(
            f"{origin}: it is no well-formed XML ({_reason(raw, error)}); mend it, or fetch it again"
        ) from error
    return tree.close()


def _reason(raw: bytes, error: Exception) -> str:
    """What the parser says, or which byte is not UTF-8: the parser calls both an invalid token."""
    declared = re.search(rb"""encoding=["']([\w.-]+)""", raw[:200])
    if isinstance(error, expat.ExpatError) and (declared is None or declared[1].lower() == b"utf-8"):
        try:
            raw.decode("utf-8-sig")
        except UnicodeDecodeError as wrong:
            line = raw.count(b"\n", 0, wrong.start) + 1
            return f"line {line}: byte 0x{raw[wrong.start]:02x} is not UTF-8, likely Windows' cp1252"
    return " ".join(str(error).split())

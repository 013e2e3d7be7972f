"""Whose radiographs, report text and patient keys may leave the machine, and through which loggers?"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cxrvl.files import read_yaml
from cxrvl.tracking.pictures import Kept, PictureLogger, kept

log = logging.getLogger(__name__)
SOURCE_KEYS = ("source", "sources")


def shareable(data: Any) -> bool:
    """Return whether every source of a resolved data section states `shareable: true`.

    A mixture of sources is shareable only if all its parts are; what states nothing is not, nor is a data section in
    which no source can be found.
    """
    sources = list(_sources(data, inside=False))
    return bool(sources) and all(source.get("shareable") is True for source in sources)


def receivers(loggers: Sequence[Any], data: Any) -> list[PictureLogger]:
    """Return the loggers that may be given pictures of a resolved data section, most often none.

    The source must be `shareable` and the logger's `share_data` be set by the user. A logger that was told to share
    what must not leave is named in a warning.
    """
    willing = [logger for logger in loggers if isinstance(logger, PictureLogger) and logger.share_data is True]
    if willing and not shareable(data):
        log.warning(
            "share_data is true, but a source of these data does not say shareable: true in its YAML; "
            "pictures and image keys stay on this machine"
        )
        return []
    return willing


def kept_to_share(folder: Path, share_data: bool) -> list[Kept]:
    """Return the pictures of a run's pages that may leave the machine later, judged by the run's own config."""
    if share_data is not True:
        return []
    return kept(folder) if shareable(read_yaml(folder / "config.yaml").get("data")) else []


def _sources(node: Any, inside: bool) -> Iterator[dict[str, Any]]:
    """Yield the data sets a config node is made of: a source, or the parts of a mixture and what it says itself."""
    if isinstance(node, list):
        for part in node:
            yield from _sources(part, inside)
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    is_source = target is not None and (inside or ".sources." in str(target))
    parts = [
        source
        for key, value in node.items()
        for source in _sources(value, inside or is_source or key in SOURCE_KEYS)
    ]  # fmt: skip
    if is_source and (not parts or "shareable" in node):
        yield node
    yield from parts

"""Which small functions may a config call?"""

from typing import Any

from omegaconf import OmegaConf


def register() -> None:
    """Register cxrvl's resolvers: `${count:${list}}` and `${scaled:number,factor}`."""
    OmegaConf.register_new_resolver("count", _count, replace=True)
    OmegaConf.register_new_resolver("scaled", _scaled, replace=True)


def _count(items: Any) -> int:
    """Return the number of items of a list."""
    return len(items)


def _scaled(number: float, factor: float) -> int:
    """Return number x factor, rounded down, as torchvision's `int(448 * 1.05)` does."""
    return int(number * factor)

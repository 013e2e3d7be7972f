"""Which small functions may a config call?"""

from typing import Any

from omegaconf import OmegaConf


def register() -> None:
    """Register cxrvl's resolvers: `${count:${list}}`, `${scaled:number,factor}` and `${released_rate:rate,batch}`."""
    OmegaConf.register_new_resolver("count", _count, replace=True)
    OmegaConf.register_new_resolver("scaled", _scaled, replace=True)
    OmegaConf.register_new_resolver("released_rate", released_learning_rate, replace=True)


def released_learning_rate(rate: float, batch_size: int) -> float:
    """Return DISTL's peak learning rate of a global batch: the given one is that of 16 images (distl.md section 2)."""
    return rate * batch_size / 16


def _count(items: Any) -> int:
    """Return the number of items of a list."""
    return len(items)


def _scaled(number: float, factor: float) -> int:
    """Return number x factor, rounded down, as torchvision's `int(448 * 1.05)` does."""
    return int(number * factor)

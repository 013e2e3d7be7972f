"""How do a base, a pooling and adapters named in a config become one text encoder?"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.hugging_face import LoadedBase
from cxrvl.models.text.lora import Lora, adapters
from cxrvl.models.text.pooling import Pooling


class Base(Protocol):
    """Where a language model comes from, see `cxrvl.models.text.bases`."""

    def load(self) -> LoadedBase:
        """Read it."""


def text_encoder(
    base: Base,
    pooling: Callable[..., Pooling],
    max_length: int = 512,
    bidirectional: bool = True,
    lora: Lora | Mapping[str, Any] | None = None,
    freeze: bool = False,
    gradient_checkpointing: bool = False,
    padding: str | None = None,
    pool_specials: bool = False,
) -> TextEncoder:
    """Build a `TextEncoder`; lora: None or empty (the option `model/lora=none`) trains the model's own weights.

    Raises:
        ConfigError: as `TextEncoder`; adapters that are set up but not chosen.
    """
    return TextEncoder(
        base.load(), pooling, max_length, bidirectional, adapters(lora), freeze,
        gradient_checkpointing, padding, pool_specials,
    )  # fmt: skip

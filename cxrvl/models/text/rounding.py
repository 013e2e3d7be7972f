"""Which layers of a language model must not round to bf16, so that its embeddings stay what they are?

Some layers write a few activations of thousands into single tokens, and later ones take them away again (SmolLM2 read both
ways: layers 12 and 29 of 30). Whether and how much is written hangs on small differences, so bf16's rounding in front of
such a layer turns the embedding of the whole text. In float32 up to there, bf16 behind it does no harm.
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cxrvl.models.text.embedding import embed_texts
from cxrvl.models.text.encoder import TextEncoder

CLOSE = 0.9998


class Float32Layers:
    """The first layers of a text encoder, computed in float32 inside `torch.autocast` too; for embedding, not training.

    Args:
        encoder: of texts, its weights in float32.

    Attributes:
        layers: of the language model, the first one read first.
        count: how many of them are so computed, from the first on; 0 at first.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.layers, self.count = layers_of(encoder), 0
        self._own = threading.local()  # autocast is of each thread
        for number, layer in enumerate(self.layers):
            layer.register_forward_pre_hook(lambda layer, given, number=number: self._enter(layer, number))
            layer.register_forward_hook(lambda *_, number=number: self._leave(number), always_call=True)

    def _enter(self, layer: nn.Module, number: int) -> None:
        if number < self.count:
            context = torch.autocast(next(layer.parameters()).device.type, enabled=False)
            context.__enter__()
            self._own.__dict__.setdefault("left", []).append(context)

    def _leave(self, number: int) -> None:
        if number < self.count and (left := self._own.__dict__.get("left")):
            left.pop().__exit__(None, None, None)


class Choice(NamedTuple):
    """layers: how many are in float32. cosine: smallest between a text's embeddings in float32 and so. alone: with none."""

    layers: int
    cosine: float
    alone: float


def choose_float32_layers(
    kept: Float32Layers,
    encoder: TextEncoder,
    texts: Sequence[str],
    bodies: Tensor | np.ndarray | None = None,
    close: float = CLOSE,
) -> Choice:
    """Set the fewest float32 layers with which bf16 embeds every one of some texts as float32 does.

    Found by halving, in about log2 of the number of layers passes, as if more layers were never worse; what is found is
    close enough in any case, unless even all layers are not: then it is all of them, and only the pooling rounds.

    Args:
        kept: of this encoder.
        texts, bodies: as `TextEncoder.encode`, a sample of those to be embedded.
        close: least cosine of a text's two embeddings. More than is promised of other texts, as these are few.
    """
    kind = encoder.device.type

    @torch.inference_mode()
    def embed(rounded: bool) -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=rounded):
            return embed_texts(encoder, texts, bodies).float()

    exact = embed(rounded=False)

    def cosine(count: int) -> float:
        kept.count = count
        return torch.nn.functional.cosine_similarity(embed(rounded=True), exact).min().item()

    found = {0: cosine(0)}
    low, high = 0, len(kept.layers)
    if found[0] >= close:
        return Choice(0, found[0], found[0])
    while high - low > 1:
        middle = (low + high) // 2
        found[middle] = cosine(middle)
        low, high = (low, middle) if found[middle] >= close else (middle, high)
    if high not in found:
        found[high] = cosine(high)
    kept.count = high
    return Choice(high, found[high], found[0])


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a language model in order, whatever its architecture: the longest list of modules in it."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len, default=()))

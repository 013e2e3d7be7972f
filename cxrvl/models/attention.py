"""Where did the K and Q attentions of each ACM look, and in which order should their groups be shown?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrvl.models.acm import ACM


class AttentionMaps(NamedTuple):
    """Softmax maps of one ACM, each (B, G, h, w) and summing to 1 over positions; None where the part is off."""

    key: Tensor | None
    query: Tensor | None

    @property
    def difference(self) -> Tensor | None:
        """The signed map key - query (B, G, h, w): where the module adds and where it subtracts."""
        return None if self.key is None or self.query is None else self.key - self.query


@contextmanager
def capture_attention(model: nn.Module) -> Iterator[dict[str, AttentionMaps]]:
    """Record the maps of every ACM during forward passes inside the block, under the module's name.

    The outputs of the model do not change. Maps are float32 and without gradient; each forward pass replaces the
    last one's. Memory: 2 G h w floats per image and module, 1,024 maps per image in a ResNet-50 with 32 groups.
    """
    captured: dict[str, AttentionMaps] = {}

    def recorder(name: str) -> Any:
        def record(module: ACM, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.no_grad():
                comparison = module.compare(inputs[0].detach())
            captured[name] = AttentionMaps(comparison.key_maps, comparison.query_maps)

        return record

    handles = [
        module.register_forward_hook(recorder(name))
        for name, module in model.named_modules()
        if isinstance(module, ACM)
    ]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (B, G, h, w) at size (H, W), bilinearly, rescaled so that each still sums to what it did."""
    height, width = maps.shape[2:]
    scale = height * width / (size[0] * size[1])
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False) * scale


def entropy(maps: Tensor) -> Tensor:
    """Return the entropy in nats (B, G) of softmax maps (B, G, h, w): 0 is one position, log(h*w) is everywhere."""
    return torch.special.entr(maps).sum((2, 3))


def order_by_entropy(maps: Tensor) -> Tensor:
    """Return group indices (B, G), most concentrated first.

    The order uses no annotation. The paper's figure 3 sorts by overlap with the annotated region, which shows what
    some group can find, not what a reader without the annotation would see (acm.md section 5).
    """
    return entropy(maps).argsort(dim=1, stable=True)

"""Where did the K and Q attentions of each ACM look, which module and which group of it is worth showing?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrvl.models.acm import ACM

READABLE_WIDTH = 8


class AttentionMaps(NamedTuple):
    """Softmax maps of one ACM, each (B, G, h, w) and summing to 1 over positions; None where the part is off."""

    key: Tensor | None
    query: Tensor | None

    @property
    def difference(self) -> Tensor | None:
        """The signed map key - query (B, G, h, w): where the module adds and where it subtracts."""
        return None if self.key is None or self.query is None else self.key - self.query


class Attended(NamedTuple):
    """Where one module looked: its name, and softmax maps (B, G, h, w) of both its sides."""

    module: str
    key: Tensor
    query: Tensor


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


def attend(model: nn.Module, images: Tensor) -> Attended | None:
    """Run a model on images (B, 1, H, W), without gradient, for the maps of the module that shows most.

    That is the deepest one whose maps are still at least `READABLE_WIDTH` wide, or the last of the widest ones. The
    model is left as it was; whether it is in training mode is the caller's business.

    Returns:
        None when no module of the model compares.
    """
    modules = [module for module in model.modules() if isinstance(module, ACM)]
    if not modules:
        return None
    with torch.no_grad(), capture_attention(model) as maps:
        model(images)
    for module in modules:
        module.dot = None
    found = [Attended(n, m.key, m.query) for n, m in maps.items() if m.key is not None and m.query is not None]
    fine = [attended for attended in found if attended.key.shape[-1] >= READABLE_WIDTH]
    widest = max((attended.key.shape[-1] for attended in found), default=0)
    shown = fine or [attended for attended in found if attended.key.shape[-1] == widest]
    return shown[-1] if shown else None


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

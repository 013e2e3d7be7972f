"""Which context modules is ACM compared with, and how is any of them put into a backbone?

Every context module is built by a factory `context(channels)` and maps (B, C, H, W) to the same shape.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM

ContextFactory = Callable[[int], nn.Module]


def build_context(context: ContextFactory, channels: int, stage: int) -> nn.Module:
    """Build the module for a place with that many channels and tell an ACM which stage (1 is the first) it is in."""
    module = context(channels)
    if isinstance(module, ACM):
        module.stage = stage
    return module


def check_stages(stages: Sequence[int], available: int) -> tuple[int, ...]:
    """Return the stages in ascending order; raise ConfigError for unknown or repeated ones, or what is no list."""
    if isinstance(stages, str) or not isinstance(stages, Sequence):
        raise ConfigError(f"stages={stages!r}: expected a list, such as [3,4], of numbers out of 1..{available}")
    if len(set(stages)) != len(stages) or not set(stages) <= set(range(1, available + 1)):
        raise ConfigError(f"stages={list(stages)}: expected different numbers out of 1..{available}")
    return tuple(sorted(stages))


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from all channel means (Hu et al., CVPR 2018, section 3).

    reduction: channels per hidden unit, 16 in the paper. Raises ConfigError where nothing would be left.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ConfigError(f"SqueezeExcite: reduction={reduction} leaves nothing of {channels} channels")
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) with every channel scaled by its gate in (0, 1)."""
        gate = self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * gate


class NonLocal(nn.Module):
    """Add to each position an attention-weighted mean over all positions: the embedded-Gaussian non-local block.

    Wang et al., CVPR 2018, equations 1, 4 and 6: softmax(theta(x)^T phi(x)) g(x), unscaled, half the channels inside,
    and a last BatchNorm that starts at zero, so that a pretrained network is unchanged at the start.
    subsample=True max-pools phi and g by 2 (section 3.3), a quarter of the pairs; a 448-px image has 12,544 positions
    in stage 1, so leave early stages out or subsample there.
    """

    def __init__(self, channels: int, reduction: int = 2, subsample: bool = False) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ConfigError(f"NonLocal: reduction={reduction} leaves nothing of {channels} channels")
        inner = channels // reduction
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.project = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.subsample = subsample
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the projected non-local response, (B, C, H, W)."""
        source = functional.max_pool2d(x, 2, ceil_mode=True) if self.subsample else x
        query, key, value = (
            layer(features).flatten(2).transpose(1, 2)
            for layer, features in ((self.theta, x), (self.phi, source), (self.g, source))
        )
        response = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.norm(self.project(response.transpose(1, 2).unflatten(2, x.shape[2:])))

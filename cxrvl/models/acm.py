"""What is an Attend-and-Compare Module (ACM), and which of its parts are switched on?

"Learning Visual Context by Comparison", ECCV 2020 (arXiv:2007.07506), written from the maths in acm.md section 1.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrvl.errors import ConfigError
from cxrvl.models.acm_kernel import AttendCompare, accumulation_dtype

Parts = Literal["full", "difference", "key", "gate"]
_SIGNS: dict[str, tuple[int, ...]] = {"full": (1, -1), "difference": (1, -1), "key": (1,), "gate": ()}


class Comparison(NamedTuple):
    """Every quantity of one ACM forward pass; a part that is switched off is None.

    output (B, C, H, W), dot (B,), key and query (B, C) mean-centred, gate (B, C) in (0, 1),
    key_maps and query_maps (B, G, H, W) softmax maps that sum to 1 over positions.
    """

    output: Tensor
    dot: Tensor
    key: Tensor | None
    query: Tensor | None
    gate: Tensor | None
    key_maps: Tensor | None
    query_maps: Tensor | None


class ACM(nn.Module):
    """Compare two attended regions of a feature map and add their difference everywhere: Y = (X + K - Q) * P.

    K and Q are attention-pooled, mean-centred features, one softmax over all positions per group; P is a channel gate
    from two grouped 1x1 convolutions on the channel means. Input and output are (B, C, H, W). Each forward pass leaves
    K.Q / C of every image in `dot` (B,), with its graph; `OrthogonalityCollector` reads and clears it.

    attention_bias=True is the released layout (faithful): the biases get zero gradients, because the softmax drops
    them. False leaves these dead parameters out (recommended); outputs are the same.
    gate_init: the value in (0, 1) that P starts near. None is the release, where P starts at 0.5 and halves every
    residual branch of a pretrained network (acm.md section 1.3); 0.95 is a start close to the plain network.
    attention_init: "kaiming" is the release, where both attentions start random and K - Q is an offset no pretrained
    layer has seen; "zero" starts both uniform, so that K = Q and the module adds nothing at first. With gate_init near 1
    a pretrained network is then kept, wherever the module is put.
    parts: "full"; "difference" X + (K - Q); "key" P (X + K); "gate" P X (the ablations of the paper's table 2).
    Without both K and Q there is nothing to compare and `dot` is zero.
    Softmax, means, gate and dot are float32 under autocast. Raises ConfigError where groups do not divide channels.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 32,
        reduction: int = 2,
        attention_bias: bool = False,
        gate_init: float | None = None,
        parts: Parts = "full",
        attention_init: Literal["kaiming", "zero"] = "kaiming",
    ) -> None:
        super().__init__()
        if parts not in _SIGNS:
            raise ConfigError(f"ACM: parts={parts!r} is unknown; expected one of {', '.join(_SIGNS)}")
        if groups < 1 or channels % groups:
            raise ConfigError(
                f"ACM: {channels} channels cannot be divided into {groups} groups; "
                "choose groups that divide the channels of every stage that carries a module"
            )
        if reduction < 1:
            raise ConfigError(f"ACM: reduction={reduction}; expected at least 1 channel per hidden channel of the gate")
        hidden, rest = divmod(channels, reduction)
        if parts != "difference" and (rest or hidden == 0 or hidden % groups):
            raise ConfigError(
                f"ACM: the gate's {channels}/{reduction} hidden channels cannot be divided into {groups} groups; "
                "choose a smaller reduction or fewer groups"
            )
        if gate_init is not None and not 0 < gate_init < 1:
            raise ConfigError(f"ACM: gate_init={gate_init} is not a value of a sigmoid; expected 0 < gate_init < 1")
        if gate_init is not None and parts == "difference":
            raise ConfigError("ACM: gate_init is set, but parts='difference' has no gate; set gate_init to null")
        if attention_init not in ("kaiming", "zero"):
            raise ConfigError(f"ACM: attention_init={attention_init!r} is unknown; expected kaiming or zero")
        self.attention_init = attention_init
        self.channels, self.groups, self.parts, self.gate_init = channels, groups, parts, gate_init
        self.signs = _SIGNS[parts]
        self.stage: int | None = None
        self.dot: Tensor | None = None
        self.key_attention = self._attention(attention_bias) if self.signs else None
        self.query_attention = self._attention(attention_bias) if len(self.signs) > 1 else None
        gated = parts != "difference"
        self.gate_reduce = nn.Conv2d(channels, hidden, 1, groups=groups) if gated else None
        self.gate_expand = nn.Conv2d(hidden, channels, 1, groups=groups) if gated else None
        self.reset_parameters()

    def _attention(self, bias: bool) -> nn.Conv2d:
        return nn.Conv2d(self.channels, self.groups, 1, groups=self.groups, bias=bias)

    def reset_parameters(self) -> None:
        """Draw Kaiming-normal (fan-out) weights and zero biases, as the release does; then set the starts asked for."""
        for convolution in self.children():
            if isinstance(convolution, nn.Conv2d):
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                if convolution.bias is not None:
                    nn.init.zeros_(convolution.bias)
        if self.attention_init == "zero":
            for attention in (self.key_attention, self.query_attention):
                if attention is not None:
                    nn.init.zeros_(attention.weight)
        if self.gate_init is not None and self.gate_expand is not None and self.gate_expand.bias is not None:
            nn.init.constant_(self.gate_expand.bias, math.log(self.gate_init / (1 - self.gate_init)))

    def forward(self, x: Tensor) -> Tensor:
        """Return Y (B, C, H, W) for x (B, C, H, W) and leave the per-image dot product (B,) in `dot`."""
        if torch.compiler.is_compiling():
            # The compiler fuses the plain operations itself and need not stop at a hand-written backward.
            comparison = self.compare(x)
            self.dot = comparison.dot
            return comparison.output
        attention, bias = self._stacked_attention()
        y, self.dot = AttendCompare.apply(x, attention, bias, *self._gate_matrices(), self.groups, self.signs)
        return y

    def compare(self, x: Tensor) -> Comparison:
        """Return every intermediate of the module, computed step by step with differentiable operations."""
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(accumulation_dtype(x.dtype))
            mean = wide.mean((2, 3))
            key_maps, query_maps = self._maps(self.key_attention, wide), self._maps(self.query_attention, wide)
            key, query = self._attend(key_maps, wide, mean), self._attend(query_maps, wide, mean)
            gate = None
            if self.gate_reduce is not None and self.gate_expand is not None:
                hidden = _pointwise(self.gate_reduce, mean[:, :, None, None]).relu()
                gate = _pointwise(self.gate_expand, hidden).sigmoid().flatten(1)
            output = wide
            if key is not None:
                output = output + (key if query is None else key - query)[:, :, None, None]
            if gate is not None:
                output = output * gate[:, :, None, None]
            dot = mean.new_zeros(len(x)) if key is None or query is None else (key * query).mean(1)
        return Comparison(output.to(x.dtype), dot, key, query, gate, key_maps, query_maps)

    def _maps(self, attention: nn.Conv2d | None, x: Tensor) -> Tensor | None:
        if attention is None:
            return None
        return _pointwise(attention, x).flatten(2).softmax(-1).unflatten(2, x.shape[2:])

    def _attend(self, maps: Tensor | None, x: Tensor, mean: Tensor) -> Tensor | None:
        if maps is None:
            return None
        pooled = torch.einsum("bgp,bgcp->bgc", maps.flatten(2), x.flatten(2).unflatten(1, (self.groups, -1)))
        return pooled.flatten(1) - mean

    def _stacked_attention(self) -> tuple[Tensor | None, Tensor | None]:
        layers = [layer for layer in (self.key_attention, self.query_attention) if layer is not None]
        if not layers:
            return None, None
        weight = torch.stack([layer.weight.flatten(1) for layer in layers], 1)
        biases = [layer.bias for layer in layers if layer.bias is not None]
        # The dead biases take part only to receive zero gradients: DDP refuses parameters without any.
        return weight, torch.stack(biases, 1) if biases else None

    def _gate_matrices(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        if self.gate_reduce is None or self.gate_expand is None:
            return None, None, None, None
        reduce, expand = self.gate_reduce, self.gate_expand
        return self._by_group(reduce.weight), reduce.bias, self._by_group(expand.weight), expand.bias

    def _by_group(self, kernel: Tensor) -> Tensor:
        return kernel.unflatten(0, (self.groups, -1)).flatten(2)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the dot product out of copies and pickles: it belongs to one forward pass and carries its graph."""
        return {**self.__dict__, "dot": None}

    def extra_repr(self) -> str:
        """Return what tells this module from another in a printed model."""
        return f"{self.channels}, groups={self.groups}, parts={self.parts!r}, gate_init={self.gate_init}"


def _pointwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a grouped 1x1 convolution in the precision of x."""
    bias = None if convolution.bias is None else convolution.bias.to(x.dtype)
    return functional.conv2d(x, convolution.weight.to(x.dtype), bias, groups=convolution.groups)

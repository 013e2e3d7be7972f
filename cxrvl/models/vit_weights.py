"""How do published weights of timm, DINO and DINOv2 become those of a vision transformer, to the last key?"""

import re
from typing import Any

import timm
from torch import Tensor

from cxrvl.errors import WeightsError
from cxrvl.models.weights import as_state, fit_stem, load_weights, names_a_file, read_state

_STEM = "patch_embed.proj.weight"
_TABLE = "pos_embed"
_LEFT_OUT = re.compile(r"(head|cls_head|head_dist|pre_logits)\.|mask_token$")
"""What stands beside the network in published files and is no part of it: heads, and the token of masked training."""


def load_vit(network: Any, weights: str, name: str, in_channels: int) -> None:
    """Load weights into timm's VisionTransformer without a classifier.

    Args:
        weights: "timm", or a local file whose keys are timm's or DINO's (which are the same), behind any one prefix
            such as module.backbone., or DINOv2's, with or without registers.
        name: timm's, with or without a tag.

    Raises:
        WeightsError: no such weights, or not of this network, naming the keys.
    """
    if weights == "timm":
        state = _published(name)
    elif names_a_file(weights):
        state = vit_names(read_state(weights), weights)
    else:
        raise WeightsError(f"weights={weights!r}: expected 'timm' or a .safetensors or .pth file")
    own = network.state_dict()
    if state.get(_TABLE) is not None and state[_TABLE].shape[1] != own[_TABLE].shape[1]:
        raise WeightsError(
            f"weights of {weights}: the position table has {state[_TABLE].shape[1]} entries, the model's has "
            f"{own[_TABLE].shape[1]}; set image_size (and the patch size) to that which the weights were made with: the "
            "table is resampled to each image as it comes, so images may still have any size"
        )
    load_weights(network, fit_stem(state, _STEM, in_channels), origin=weights)


def vit_names(state: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Return a published state dict under timm's names, without prefix, heads and mask token.

    Raises:
        WeightsError: no patch embedding, or several.
    """
    stems = [key for key in state if key == _STEM or key.endswith(f".{_STEM}")]
    if len(stems) != 1:
        found = f"{len(stems)} patch embeddings ({', '.join(stems)})" if stems else "no patch embedding"
        raise WeightsError(f"weights of {origin}: {found}; expected the weights of one vision transformer")
    prefix = stems[0].removesuffix(_STEM)
    beside = prefix.removesuffix("backbone.")
    named = {
        key.removeprefix(prefix) if key.startswith(prefix) else key: value
        for key, value in state.items()
        if not _LEFT_OUT.match(key.removeprefix(prefix)) and not _LEFT_OUT.match(key.removeprefix(beside))
    }
    if "register_tokens" in named:
        # DINOv2 adds position 0 to the CLS token and none to the registers; timm keeps the sum.
        table = named[_TABLE]
        named["reg_token"] = named.pop("register_tokens")
        named |= {"cls_token": named["cls_token"] + table[:, :1], _TABLE: table[:, 1:]}
    return named


def _published(name: str) -> dict[str, Tensor]:
    """Return timm's published weights; raise WeightsError if there are none or they cannot be fetched."""
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0, global_pool="token")
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"weights=timm of {name} cannot be fetched ({error}); give a local file, or weights=null"
        ) from error
    return as_state(network.state_dict(), f"timm {name}")

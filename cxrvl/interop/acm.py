"""How does a checkpoint of the released ACM code become a state dict of this project's classifier?

Only key names are known here, from acm.md section 1 and the key list of the parity files.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxrvl.errors import WeightsError
from cxrvl.models.classifier import ImageClassifier
from cxrvl.models.torch_files import read_torch_file
from cxrvl.models.weights import as_state, load_weights

_PARTS = {
    "add_mod.map_gen.0": "key_attention",
    "sub_mod.map_gen.0": "query_attention",
    "mul_mod.feature_gen.0": "gate_reduce",
    "mul_mod.feature_gen.2": "gate_expand",
}
_CLASSIFIER = "classifier_conv."
_DATA_PARALLEL = "module."
# The release stores its best AUC as a NumPy number; these three names rebuild one and can run nothing else.
_SCALAR: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
_NUMPY_NUMBER: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
]


def translate_module_key(key: str) -> str:
    """Return the name in ACM of a released module's key, such as add_mod.map_gen.0.weight; KeyError if unknown."""
    part, leaf = key.rsplit(".", 1)
    return f"{_PARTS[part]}.{leaf}"


def translate_block_key(key: str) -> str:
    """Return the name in a residual block of a released block's key; all but the ACM's are torchvision's."""
    return f"context.{translate_module_key(key.removeprefix('module.'))}" if key.startswith("module.") else key


def translate_released(state: Mapping[str, Tensor], attention_bias: bool = True) -> dict[str, Tensor]:
    """Return a released classifier's state dict under the names of ImageClassifier(ResNet, MaxPoolHead).

    A leading "module." (DataParallel) is removed, from all keys or none. attention_bias=False leaves out the attention
    biases, which cannot change any output (acm.md section 1.2), for models built without them.
    Raises WeightsError naming the keys that the released layout does not have.
    """
    prefixed = [key.startswith(_DATA_PARALLEL) for key in state]
    if any(prefixed) and not all(prefixed):
        raise WeightsError("released ACM checkpoint: only some keys start with 'module.'; the file mixes two layouts")
    translated: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        name = key.removeprefix(_DATA_PARALLEL)
        block = re.fullmatch(r"(layer\d\.\d+)\.(.+)", name)
        try:
            if block:
                name = f"backbone.{block[1]}.{translate_block_key(block[2])}"
            elif name.startswith(_CLASSIFIER):
                name = f"head.classifier.{name.removeprefix(_CLASSIFIER)}"
            else:
                name = f"backbone.{name}"
        except KeyError:
            unknown.append(key)
            continue
        if attention_bias or not re.search(r"(key|query)_attention\.bias$", name):
            translated[name] = value
    if unknown:
        raise WeightsError(f"released ACM checkpoint: {len(unknown)} unknown keys: {', '.join(sorted(unknown)[:6])}")
    return translated


def read_released(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict inside a released training checkpoint, running nothing of the file.

    The file is a dict with `state_dict` and the entries best_loss, epoch, rng_state and LR; a bare state dict is
    taken too. Raises WeightsError naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"released ACM checkpoint: {path} is not a file")
    with torch.serialization.safe_globals(_NUMPY_NUMBER):
        content = read_torch_file(path)
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    return as_state(content, str(path))


def load_released(model: ImageClassifier, path: str | Path) -> None:
    """Load a released checkpoint into a classifier of the same architecture, every key of both sides accounted for.

    Biases of the attention convolutions are left out if the model has none. Raises WeightsError.
    """
    biased = any(key.endswith("key_attention.bias") for key in model.state_dict())
    load_weights(model, translate_released(read_released(path), attention_bias=biased), origin=str(path))

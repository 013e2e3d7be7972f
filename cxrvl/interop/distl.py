"""How does a checkpoint of the released DISTL code become the parts of a self-training network?

Only key names are known here, from distl.md and the key list of the parity files.
"""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrvl.errors import WeightsError
from cxrvl.models.weights import as_state

_DATA_PARALLEL = "module."
_PARTS = {"backbone.": "encoder.backbone.network.", "head.": "feature_head.", "cls_head.": "class_head."}
_NORMALISED = {
    "last_layer.weight_g": "last_layer.parametrizations.weight.original0",
    "last_layer.weight_v": "last_layer.parametrizations.weight.original1",
}
_ONE_LAYER = ("mlp.weight", "mlp.bias")
"""A head's only layer is no sequence in the release."""


def translate_head_key(key: str) -> str:
    """Return the name in `FeatureHead` of a key of the released DINO head, such as last_layer.weight_g.

    The released class head's keys are those of `ClassHead`, by the same rule.
    """
    if key in _ONE_LAYER:
        return key.replace("mlp.", "mlp.0.")
    return _NORMALISED.get(key, key)


def translate_network(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """Return a released student's or teacher's state dict under the names of `SelfTrainingNetwork` with a `Vit`.

    A leading "module." (DataParallel) is removed, from all keys or none.

    Raises:
        WeightsError: naming the keys that the released layout does not have.
    """
    prefixed = [key.startswith(_DATA_PARALLEL) for key in state]
    if any(prefixed) and not all(prefixed):
        raise WeightsError(f"{origin}: only some keys start with 'module.'; the file mixes two layouts")
    translated: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        name = key.removeprefix(_DATA_PARALLEL)
        part = next((part for part in _PARTS if name.startswith(part)), None)
        if part is None:
            unknown.append(key)
            continue
        inner = name.removeprefix(part)
        translated[_PARTS[part] + (inner if part == "backbone." else translate_head_key(inner))] = value
    if unknown:
        raise WeightsError(
            f"{origin}: {len(unknown)} keys are none of the released DISTL code: {', '.join(sorted(unknown)[:6])}; "
            f"expected keys that start with {', '.join(_PARTS)}"
        )
    return translated


def read_checkpoint(path: str | Path) -> dict[str, dict[str, Tensor]]:
    """Return the networks of a released checkpoint and its centre by part, running nothing of the file.

    Optimiser, settings and scaler of a training checkpoint are left aside. One of DINO's own, without class heads, is
    taken too; a pre-trained backbone alone is what `Vit(weights=...)` reads.

    Returns:
        Of `student`, `teacher` and `centre` those the file has, keys as in `SelfTrainingNetwork` and `DinoLoss`.

    Raises:
        WeightsError: no such file, one that holds more than weights and plain values, or another layout.
    """
    path = Path(path)
    content = _content(path)
    networks = {name: content[name] for name in ("student", "teacher") if isinstance(content.get(name), Mapping)}
    if not networks:
        raise WeightsError(
            f"released DISTL checkpoint: {path} has the entries {', '.join(map(str, list(content)[:6]))}; "
            "expected student, teacher and dino_loss"
        )
    found = {
        name: translate_network(as_state(state, f"{path}: {name}"), f"released DISTL checkpoint {path}, {name}")
        for name, state in networks.items()
    }
    if "dino_loss" in content:
        loss = as_state(content["dino_loss"], f"{path}: dino_loss")
        if set(loss) != {"center"}:
            raise WeightsError(f"released DISTL checkpoint {path}: dino_loss holds {sorted(loss)}; expected center")
        found["centre"] = {"centre": loss["center"]}
    return found


def read_layout(path: Path) -> dict[str, Tensor]:
    """Return what `read_checkpoint` does as one state dict: student.*, teacher.* and centre.centre."""
    parts = read_checkpoint(path)
    return {f"{part}.{key}": value for part, state in parts.items() for key, value in state.items()}


def _content(path: Path) -> Mapping[str, Any]:
    """Return the entries of a checkpoint; its settings are an argparse.Namespace, the one class that is let in."""
    if not path.is_file():
        raise WeightsError(f"released DISTL checkpoint: {path} is not a file")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"released DISTL checkpoint: {path} cannot be read safely: {reason}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"released DISTL checkpoint: {path} holds a {type(content).__name__}; expected its entries")
    return content

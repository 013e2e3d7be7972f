"""When need a tower that never learns not be computed again, and how is it told from one that has to be?"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cxrvl.data.feature_store import FeatureStore, content_key
from cxrvl.models.dual_tower import TOWERS, DualTower
from cxrvl.models.text import TextEncoder

log = logging.getLogger(__name__)
AT_ONCE = 256
NO_SETTINGS = ("training", "name_or_path", "gradient_checkpointing", "grad_checkpointing", "fused_attn")
"""What modules say of themselves that changes no feature: mode, place of the files, how memory is saved."""
NO_CONFIG = ("_name_or_path", "transformers_version", "use_cache")


class PairData(Protocol):
    """What a data module says of its training inputs.

    text_versions: how many different texts a report has; None = a new one in every epoch. fixed_images: whether an
    image looks the same in every epoch.
    """

    text_versions: int | None
    fixed_images: bool


class StoredFeatures:
    """Features by content: read where they are stored, computed and stored where they are not."""

    def __init__(self, store: FeatureStore, device: torch.device) -> None:
        self.store, self.device = store, device

    def of(self, keys: Sequence[bytes], compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the features (B, F) float32 of inputs.

        Args:
            keys: of the inputs, B of them.
            compute: rows (n,) int64 of the batch -> their features (n, F).
        """
        missing = self.store.missing(keys)
        for start in range(0, len(missing), AT_ONCE):
            rows = missing[start : start + AT_ONCE]
            with torch.no_grad():
                features = compute(torch.tensor(rows)).float().cpu().numpy()
            self.store.add([keys[row] for row in rows], features)
        return torch.from_numpy(self.store.take(keys)).to(self.device)


def open_stores(
    tower: DualTower, data: PairData | None, root: Path | None, precision: str
) -> dict[str, StoredFeatures]:
    """Return the stores of the towers whose features can be stored, and say of each tower what is done and why.

    A tower's features are stored if nothing in it learns, and if its inputs come again: images that are not augmented,
    reports with a number of versions (`data.text.<name>.variants`, or no style).

    Args:
        data: what the training reads. root: of the stores; None = nothing is stored. precision: of the trainer.

    Raises:
        DataError: what lies in a store's folder belongs to another network.
    """
    stores = {}
    for name in TOWERS:
        reason = online(tower, name, data, root)
        if reason:
            log.info("%s: computed in every step, since %s", name, reason)
            continue
        assert root is not None
        network = tower.get_submodule(name)
        store = FeatureStore(root, name, network_digest(network, precision))
        stores[name] = StoredFeatures(store, next(tower.parameters()).device)
        log.info("%s: never learns, its features are stored in %s (%d there)", name, store.folder, len(store))
    return stores


def online(tower: DualTower, name: str, data: PairData | None, root: Path | None) -> str:
    """Return why a tower has to be computed in every step; "" where its features can be stored."""
    if not tower.is_frozen(name):
        return "it learns"
    if root is None:
        return "task.store_root is null"
    if data is None:
        return "there is no data module"
    if name == "image_tower" and not data.fixed_images:
        return "images are augmented anew in every epoch (data.transforms.train)"
    if name == "text_tower" and data.text_versions is None:
        return "reports are restyled in every epoch (data.text.<name>.variants bounds their versions)"
    return ""


def network_digest(network: nn.Module, precision: str) -> str:
    """Return the SHA-256 hex digest of what a tower's features depend on besides the input.

    All weights and buffers, stored in a checkpoint or not; how a text is read; the modules, with the settings that no
    weight shows, such as how many heads share a matrix; the precision.
    """
    known = [precision, _reading(network), repr(network), list(_settings(network))]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    tensors: dict[str, Any] = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def text_keys(texts: Sequence[str], bodies: Tensor) -> list[bytes]:
    """Return a key per text: of its characters, instruction included, and where in it the report lies, bodies (B, 2)."""
    spans = bodies.to(torch.int64).numpy()
    return [
        content_key(text.encode("utf-8", "surrogatepass"), span.tobytes())
        for text, span in zip(texts, spans, strict=True)
    ]


def image_keys(images: Tensor) -> list[bytes]:
    """Return a key per image (B, 1, H, W): of its pixels as the tower takes them."""
    values = images.detach().cpu().contiguous()
    shape = json.dumps([str(values.dtype), list(values.shape[1:])]).encode()
    return [content_key(shape, image.view(torch.uint8).numpy().tobytes()) for image in values]


def _reading(network: nn.Module) -> list[Any]:
    """How a tower reads texts: what of it is no weight; [] for an image tower."""
    from cxrvl.models.open_clip_towers import OpenClipText  # half a second that every other task would wait for

    if isinstance(network, OpenClipText):
        inner = getattr(getattr(network.read, "tokenizer", None), "backend_tokenizer", None)
        said = _plain(vars(network.read))
        return [network.name, network.context, network.filler, said, None if inner is None else inner.to_str()]
    if not isinstance(network, TextEncoder):
        return []
    read = network.tokenize
    return [
        read.max_length, read.side, read.pool_specials, network.body.bidirectional,
        read.backend.backend_tokenizer.to_str(),
    ]  # fmt: skip


def _settings(network: nn.Module) -> Iterator[list[Any]]:
    """Name, plain attributes and configuration of every module."""
    for name, module in network.named_modules():
        said = {key: value for key, value in vars(module).items() if not key.startswith("_") and key not in NO_SETTINGS}
        config: Any = getattr(module, "config", None)
        described: dict[str, Any] = config.to_dict() if hasattr(config, "to_dict") else {}
        yield [
            name,
            _plain(said),
            _plain({key: value for key, value in described.items() if key not in NO_CONFIG}),
        ]


def _plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries of a mapping that are numbers, words, or lists and mappings of them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found[str(key)] = _plain(value)
        elif isinstance(value, (list, tuple)):
            found[str(key)] = [one for one in value if one is None or isinstance(one, (bool, int, float, str))]
        elif value is None or isinstance(value, (bool, int, float, str)):
            found[str(key)] = value
    return found

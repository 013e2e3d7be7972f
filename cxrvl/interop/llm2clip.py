"""How does the released LLM2CLIP4CXR checkpoint become a dual tower of this project? By prefix, to the last key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxrvl.errors import WeightsError
from cxrvl.interop.llm2vec import split_released
from cxrvl.models.dual_tower import DualTower
from cxrvl.models.image_encoder import ImageEncoder
from cxrvl.models.projection import NormedLinear
from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.hugging_face import from_state
from cxrvl.models.text.lora import ADAPTER, Lora
from cxrvl.models.text.pooling import LatentAttention
from cxrvl.models.timm_image import TimmImage
from cxrvl.models.torch_files import read_torch_file
from cxrvl.models.weights import as_state, load_weights

NESTED = ("state_dict", "module", "model_state_dict", "model", "sd", "weights")
RELEASED_ADAPTER, STRAY_ADAPTER = "llm2clip", "default"
_ROPE = re.compile(r"(^|\.)rope\.freqs_(cos|sin)$")
_LORA = re.compile(r"(?P<module>.+)\.(?P<matrix>lora_[AB])\.(?P<adapter>[^.]+)\.weight")
_PEFT = "base_model.model."
_CORE, _ALIAS, _PROJECTION, _VISUAL = "text.core.", "text.model.", "text.projection.", "visual."
VISION = "eva02_large_patch14_clip_336"
_REFERENCE_GRID = 16


@dataclass(frozen=True)
class Released:
    """The parts of a released checkpoint, each under the names inside that part.

    visual: EVA02 with its head. base: the language model. adapter: module -> (A, B). pooling, projection: their tensors.
    """

    logit_scale: Tensor
    visual: dict[str, Tensor]
    base: dict[str, Tensor]
    adapter: dict[str, dict[str, Tensor]]
    pooling: dict[str, Tensor]
    projection: dict[str, Tensor]

    @property
    def rank(self) -> int:
        """Of the adapter."""
        return next(iter(self.adapter.values()))["lora_A"].shape[0]


def read_released(path: str | Path) -> Released:
    """Read a released checkpoint, running nothing of it; layout: papers/llm2clip4cxr.md, section 6.2.

    Raises:
        WeightsError: no such file, another container, or another layout, see `split_released_pair`.
    """
    origin = str(path)
    if not Path(path).is_file():
        raise WeightsError(f"weights: {origin} is not a file; give the released llm2clip4cxr.bin")
    content: Any = read_torch_file(Path(path))
    name = next((key for key in NESTED if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), None)
    return split_released_pair(as_state(content if name is None else content[name], origin), origin)


def split_released_pair(state: Mapping[str, Tensor], origin: str) -> Released:
    """Sort the tensors of a released checkpoint by their parts.

    Raises:
        WeightsError: a key that the layout does not have, or one that is missing.
    """
    known = (_VISUAL, _CORE, _ALIAS, _PROJECTION)
    unknown = [key for key in state if key != "logit_scale" and not key.startswith(known)]
    missing = [prefix for prefix in (_VISUAL, _PROJECTION) if not any(key.startswith(prefix) for key in state)]
    if unknown or missing or "logit_scale" not in state:
        raise WeightsError(
            f"{origin} is no released LLM2CLIP4CXR checkpoint: unknown keys {unknown[:6] or 'none'}, nothing under "
            f"{missing or 'no prefix'}, logit_scale {'there' if 'logit_scale' in state else 'missing'}; nothing was loaded"
        )
    core = _text_core(state, origin)
    adapter, plain = _adapters(core, origin)
    body, pooling = split_released(plain, origin)
    return Released(
        state["logit_scale"], {key: value for key, value in _under(state, _VISUAL).items() if not _ROPE.search(key)},
        body, adapter, pooling, _under(state, _PROJECTION),
    )  # fmt: skip


def _text_core(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The text core, which is stored once or twice under two names; twice it must be the same."""
    found = [part for part in (_under(state, _CORE), _under(state, _ALIAS)) if part]
    if not found:
        raise WeightsError(f"{origin} holds nothing under {_CORE} or {_ALIAS}; it has no text tower")
    if len(found) == len((_CORE, _ALIAS)):
        differing = [
            key for key in found[0].keys() | found[1].keys() if not _same(found[0].get(key), found[1].get(key))
        ]
        if differing:
            raise WeightsError(
                f"{origin}: {_CORE}* and {_ALIAS}* are to be the same tensors, but differ in {sorted(differing)[:6]}"
            )
    return found[0]


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def _adapters(core: Mapping[str, Tensor], origin: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Split LoRA matrices of the trained adapter from plain weights under the names of the released text encoder.

    The adapter `default` was made first and never trained: its B is zero, or something is wrong.
    """
    adapter: dict[str, dict[str, Tensor]] = {}
    plain: dict[str, Tensor] = {}
    for key, value in core.items():
        match = _LORA.fullmatch(key)
        if match is None:
            plain[_plain_name(key)] = value
        elif match["adapter"] == RELEASED_ADAPTER:
            adapter.setdefault(_plain_name(match["module"]).removeprefix("model."), {})[match["matrix"]] = value
        elif match["adapter"] != STRAY_ADAPTER or (match["matrix"] == "lora_B" and bool(value.any())):
            raise WeightsError(
                f"{origin}: {key} belongs to an adapter that is not known; expected {RELEASED_ADAPTER}, and "
                f"{STRAY_ADAPTER} with B at zero"
            )
    broken = [module for module, matrices in adapter.items() if len(matrices) != len(("lora_A", "lora_B"))]
    if not adapter or broken:
        raise WeightsError(
            f"{origin}: adapter {RELEASED_ADAPTER} is {'not there' if not adapter else f'half: {broken}'}"
        )
    return adapter, plain


def _plain_name(key: str) -> str:
    """The name a weight has in the released text encoder, without the wrapping of peft."""
    return key.replace(f"model.{_PEFT}", "model.", 1).replace(".base_layer.", ".")


def released_dual_tower(
    folder: str,
    weights: str,
    heads: int = 8,
    max_length: int = 512,
    image_size: int = 448,
    vision: Mapping[str, Any] | None = None,
    alpha: int = 32,
    dropout: float = 0.1,
    attention: str = "sdpa",
    gradient_checkpointing: bool = False,
) -> DualTower:
    """Build the released dual tower from its checkpoint; similarities are raw dot products, as it was trained.

    Args:
        folder: config.json and tokenizer of the text encoder it stands on; no weights are read there.
        weights: the released checkpoint, llm2clip4cxr.bin.
        heads: of the latent attention. alpha, dropout: of the adapter.
        vision: sizes of another EVA02 than the released one, as arguments of timm's model.

    Raises:
        WeightsError: the checkpoint is laid out in another way, or does not fit to the last key.
    """
    found = read_released(weights)
    backbone = TimmImage(
        VISION, image_size, gradient_checkpointing=gradient_checkpointing,
        options={"ref_feat_shape": [_REFERENCE_GRID] * 2, **(vision or {})},
    )  # fmt: skip
    images = ImageEncoder(backbone)
    head = {key.removeprefix("head."): value for key, value in found.visual.items() if key.startswith("head.")}
    trunk = {f"visual.{key}": value for key, value in found.visual.items() if not key.startswith("head.")}
    from timm.models.eva import checkpoint_filter_fn

    load_weights(backbone.network, checkpoint_filter_fn(trunk, backbone.network), origin=f"{weights} (visual)")
    targets = sorted({module.rpartition(".")[2] for module in found.adapter})
    text = TextEncoder(
        from_state(folder, found.base, attention), partial(LatentAttention, latents=len(found.pooling["latents"]), heads=heads),
        max_length, lora=Lora(found.rank, alpha, dropout, targets), gradient_checkpointing=gradient_checkpointing,
    )  # fmt: skip
    text.pooling.load_state_dict(found.pooling, strict=True)
    _load_adapter(text, found.adapter, weights)
    image_projection = nn.Linear(images.num_features, len(head.get("weight", ())))
    load_weights(image_projection, head, origin=f"{weights} (visual.head)")
    text_projection = NormedLinear(text.width, len(found.projection.get("1.weight", ())))
    load_weights(text_projection, found.projection, origin=f"{weights} (text.projection)")
    tower = DualTower(images, text, image_projection, text_projection, similarity="dot")
    with torch.no_grad():
        tower.logit_scale.copy_(found.logit_scale.reshape(()))
    return tower


def _load_adapter(text: TextEncoder, adapter: Mapping[str, Mapping[str, Tensor]], origin: str) -> None:
    """Give the released adapter to the one of this project, every matrix."""
    network: Any = text.body.network
    given = {
        f"{_PEFT}{module}.{matrix}.{ADAPTER}.weight": value
        for module, matrices in adapter.items()
        for matrix, value in matrices.items()
    }
    own = {name: value for name, value in network.named_parameters() if ".lora_" in name}
    differing = sorted(
        name for name in given.keys() | own.keys()
        if name not in given or name not in own or given[name].shape != own[name].shape
    )  # fmt: skip
    if differing:
        raise WeightsError(f"{origin}: adapter matrices do not fit: {differing[:6]}; nothing was loaded")
    with torch.no_grad():
        for name, value in given.items():
            own[name].copy_(value)


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

"""How do the released LLM2VEC4CXR weights become a text encoder of this project? By prefix, to the last key."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from cxrvl.errors import WeightsError
from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.hugging_face import from_state
from cxrvl.models.text.lora import Lora, adapters
from cxrvl.models.text.pooling import LatentAttention
from cxrvl.models.weights import read_state

BODY, POOLING = "model.", "latent_attn."
FILES = ("model.safetensors", "pytorch_model.bin")
POOLING_KEYS = (
    "latents", "multihead_attn.in_proj_weight", "multihead_attn.in_proj_bias", "multihead_attn.out_proj.weight",
    "multihead_attn.out_proj.bias", "mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias",
)  # fmt: skip


def split_released(state: Mapping[str, Tensor], origin: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of the language model's body and of the pooling, by the names they have inside these.

    Layout: papers/llm2clip4cxr.md, section 6.1.

    Raises:
        WeightsError: keys of neither, or other pooling keys than those of the released class, all listed: a variant with
            residual and LayerNorm computes something else.
    """
    body = {key.removeprefix(BODY): value for key, value in state.items() if key.startswith(BODY)}
    pooling = {key.removeprefix(POOLING): value for key, value in state.items() if key.startswith(POOLING)}
    others = [key for key in state if not key.startswith((BODY, POOLING))]
    missing = [key for key in POOLING_KEYS if key not in pooling]
    unknown = [key for key in pooling if key not in POOLING_KEYS]
    if others or missing or unknown or not body:
        raise WeightsError(
            f"{origin} is no LLM2VEC4CXR text encoder: keys of neither body nor pooling: {others or 'none'}; pooling "
            f"keys missing: {missing or 'none'}; pooling keys not known: {unknown or 'none'}; nothing was loaded"
        )
    return body, pooling


def released_text_encoder(
    folder: str,
    heads: int = 8,
    max_length: int = 512,
    lora: Lora | Mapping[str, Any] | None = None,
    freeze: bool = False,
    gradient_checkpointing: bool = False,
    attention: str = "sdpa",
) -> TextEncoder:
    """Build the released text encoder from its folder: config.json, the tokenizer's files and the weights.

    No code of the folder is run.

    Raises:
        WeightsError: a file is missing, or the weights are not laid out as `split_released` expects.
        ConfigError: adapters that are set up but not chosen.
    """
    chosen, place = adapters(lora), Path(folder).expanduser()
    found = [place / name for name in FILES if (place / name).is_file()]
    if not found:
        raise WeightsError(f"model.folder={folder} holds neither {' nor '.join(FILES)}")
    body, pooling = split_released(read_state(found[0]), str(found[0]))
    encoder = TextEncoder(
        from_state(str(place), body, attention), partial(LatentAttention, latents=len(pooling["latents"]), heads=heads),
        max_length, lora=chosen, freeze=freeze,
        gradient_checkpointing=gradient_checkpointing,
    )  # fmt: skip
    encoder.pooling.load_state_dict(pooling, strict=True)
    return encoder

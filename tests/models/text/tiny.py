"""What do the tests of text models share? Models small enough for any machine."""

from collections.abc import Mapping
from typing import Any

import torch

from cxrvl.models.text import TextEncoder
from cxrvl.models.text.bases import ScratchBase
from cxrvl.models.text.build import text_encoder
from cxrvl.models.text.pooling import Mean

DECODERS = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "smollm3")
ENCODERS = ("bert", "roberta")
REPORTS = [
    "The heart is enlarged. There is a small left pleural effusion.",
    "No pneumothorax.",
    "Moderate consolidation in the right lower zone. The cardiac silhouette is within normal limits.",
]
INSTRUCTION = "Retrieve the impression."


def base(architecture: str = "llama", **changed: Any) -> ScratchBase:
    """A random model of an architecture: hidden 64, 2 layers."""
    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                             "intermediate_size": 128, "max_position_embeddings": 256}  # fmt: skip
    if architecture in DECODERS:
        sizes |= {"num_key_value_heads": 2, "head_dim": 16}
    if architecture in ("llama", "qwen2", "smollm3"):
        sizes.pop("head_dim")
    attention = changed.pop("attention", "eager" if architecture == "gemma2" else "sdpa")
    tokenizer = "reports_bert" if architecture in ENCODERS else "reports"
    return ScratchBase(architecture, {**sizes, **changed}, tokenizer, attention)


def encoder(architecture: str = "llama", sizes: Mapping[str, Any] | None = None, **options: Any) -> TextEncoder:
    """A text encoder of it, seeded, in evaluation mode."""
    torch.manual_seed(0)
    pooling = options.pop("pooling", Mean)
    return text_encoder(base(architecture, **(sizes or {})), pooling, **{"max_length": 128, **options}).eval()


def instructed(texts: list[str] = REPORTS) -> tuple[list[str], torch.Tensor]:
    """Texts behind an instruction, and where their reports lie."""
    start = len(INSTRUCTION) + 1
    return [f"{INSTRUCTION} {text}" for text in texts], torch.tensor([[start, start + len(text)] for text in texts])

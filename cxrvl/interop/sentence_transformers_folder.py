"""How does a text encoder become a folder that sentence-transformers opens, with the same embeddings?"""

import copy
import importlib.util
import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from cxrvl.errors import RunError, WeightsError
from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.hugging_face import quiet
from cxrvl.models.text.pooling import Cls, Last, LatentAttention, Mean, Pooling, WeightedMean

POOLINGS: Mapping[type[Pooling], str] = {
    Mean: "mean", WeightedMean: "weighted_mean", Last: "last", Cls: "cls", LatentAttention: "latent_attention",
}  # fmt: skip
_SAMPLE = "heart"


def write_sentence_transformers(encoder: TextEncoder, folder: Path, prompts: Mapping[str, str]) -> None:
    """Write an encoder, its adapters merged, as a folder for `SentenceTransformer(folder, trust_remote_code=True)`.

    The folder brings one file of code, the pooling, which is why that flag is needed; everything else is the library's.
    `encode(texts)` and `encode(texts, prompt_name=...)` give the embeddings that this project gives without and with the
    instruction.

    Args:
        encoder: in evaluation mode; it stays as it is.
        folder: must not exist yet, or be empty.
        prompts: name -> instruction, without a space behind it.

    Raises:
        RunError: the folder holds files; WeightsError: sentence-transformers is not installed.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty; name another folder")
    if importlib.util.find_spec("sentence_transformers") is None:
        raise WeightsError("the export needs the package sentence-transformers: pip install 'cxrvl[export]'")
    from cxrvl.interop.report_pooling import ReportPooling

    network = _merged(encoder)
    with quiet():
        network.save_pretrained(folder)
    tokenizer = copy.deepcopy(encoder.tokenize.backend)
    tokenizer.padding_side = encoder.tokenize.side
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = encoder.tokenize.pad_id
    tokenizer.save_pretrained(folder)
    pooling = encoder.pooling
    before, behind = _specials(encoder)
    options: dict[str, Any] = {"pooling": POOLINGS[type(pooling)], "width": encoder.width}
    if not encoder.tokenize.pool_specials:
        options |= {"before": before, "behind": behind}
    options["prompt_tokens"] = dict(_prompt_tokens(encoder, prompt, behind) for prompt in prompts.values())
    if isinstance(pooling, LatentAttention):
        options |= {"latents": len(pooling.latents), "heads": pooling.multihead_attn.num_heads}
    module = ReportPooling(**options)
    if isinstance(pooling, LatentAttention):
        module.load_state_dict({key: value.detach().float().cpu() for key, value in pooling.state_dict().items()})
    module.save(str(folder / "1_ReportPooling"))
    shutil.copy(str(files("cxrvl.interop").joinpath("report_pooling.py")), folder / "report_pooling.py")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_ReportPooling", "type": "report_pooling.ReportPooling"},
    ]
    _write(folder / "modules.json", modules)
    _write(
        folder / "sentence_bert_config.json", {"max_seq_length": encoder.tokenize.max_length, "do_lower_case": False}
    )
    named = {name: f"{prompt} " for name, prompt in prompts.items()}
    about = {"prompts": named, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    _write(folder / "config_sentence_transformers.json", about)


def _merged(encoder: TextEncoder) -> Any:
    """The Hugging Face model with its adapters added to its weights; the encoder keeps its own."""
    network: Any = copy.deepcopy(encoder.body.network).cpu()
    if hasattr(network, "merge_and_unload"):
        network = network.merge_and_unload()
    return network.to(torch.float32)


def _specials(encoder: TextEncoder) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and behind a text."""
    backend = encoder.tokenize.backend
    mask = backend(_SAMPLE, return_special_tokens_mask=True)["special_tokens_mask"]
    before = mask.index(0)
    return before, mask[::-1].index(0)


def _prompt_tokens(encoder: TextEncoder, prompt: str, behind: int) -> tuple[str, int]:
    """Tokens of a prompt as sentence-transformers counts them, and those that are attended to and not pooled here."""
    counted = len(encoder.tokenize.backend(f"{prompt} ")["input_ids"]) - behind
    start = len(prompt) + 1
    tokens = encoder.tokenize([f"{prompt} {_SAMPLE}"], torch.tensor([[start, start + len(_SAMPLE)]]))
    return str(counted), int(tokens.pool_mask[0].argmax() - tokens.attention_mask[0].argmax())


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

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


_README = """---
library_name: sentence-transformers
---

# A text encoder for chest X-ray reports

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("<this folder>", trust_remote_code=True)  # the code is report_pooling.py, beside this file
embeddings = model.encode(["The lungs are clear."]{prompt})
```

The folder embeds the text it is given. `cxrvl encode` first chooses sections and cleans them, as the run this comes from
read its reports: {reading}. Give it texts prepared alike to get the same embeddings.

Prompts are read and not pooled: {prompts}. Others, and empty texts, are refused.
"""


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written or holds something: RunError says which."""
    file = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    if file is not None:
        raise RunError(f"--out: {file} is a file; name a folder that is not there yet, or an empty one")
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"--out: {folder} is not empty; name another folder")


def write_sentence_transformers(encoder: TextEncoder, folder: Path, prompts: Mapping[str, str], reading: str) -> None:
    """Write an encoder, its adapters merged, as a folder for `SentenceTransformer(folder, trust_remote_code=True)`.

    The folder brings one file of code, the pooling, which is why that flag is needed; everything else is the library's.
    `encode(texts)` and `encode(texts, prompt_name=...)` give the embeddings that this project gives without and with the
    instruction.

    Args:
        encoder: in evaluation mode; it stays as it is.
        folder: must not exist yet, or be empty.
        prompts: name -> instruction, without a space behind it.
        reading: how the run prepared its texts, in words, for the folder's README.md.

    Raises:
        RunError: as `check_folder`; two prompts that the folder could not tell apart.
        WeightsError: sentence-transformers is not installed.
    """
    check_folder(folder)
    if importlib.util.find_spec("sentence_transformers") is None:
        raise WeightsError("the export needs the package sentence-transformers: pip install 'cxrvl[export]'")
    from cxrvl.interop.report_pooling import ReportPooling

    before, behind = _specials(encoder)
    prompt_tokens = _prompt_tokens(encoder, prompts, behind)
    network = _merged(encoder)
    with quiet():
        network.save_pretrained(folder, state_dict={**network.state_dict(), **_unused(network)})
    tokenizer = copy.deepcopy(encoder.tokenize.backend)
    tokenizer.padding_side = encoder.tokenize.side
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = encoder.tokenize.pad_id
    tokenizer.split_special_tokens = tokenizer.init_kwargs["split_special_tokens"] = True  # as `ReportTokenizer` reads
    tokenizer.save_pretrained(folder)
    pooling = encoder.pooling
    options: dict[str, Any] = {
        "pooling": POOLINGS[type(pooling)], "width": encoder.width, "before": before, "behind": behind,
        "prompt_tokens": prompt_tokens, "pool_specials": encoder.tokenize.pool_specials,
        "blank": _blank(encoder),
    }  # fmt: skip
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
    listed = ", ".join(f"`{name}` ({prompt})" for name, prompt in prompts.items()) or "this folder has none"
    example = f', prompt_name="{next(iter(prompts))}"' if prompts else ""
    readme = _README.format(reading=reading, prompts=listed, prompt=example)
    (folder / "README.md").write_text(readme, encoding="utf-8")


def _merged(encoder: TextEncoder) -> Any:
    """The Hugging Face model in float32 with its adapters added to its weights; the encoder keeps its own."""
    network: Any = copy.deepcopy(encoder.body.network).cpu().to(torch.float32)
    return network.merge_and_unload() if hasattr(network, "merge_and_unload") else network


def _unused(network: Any) -> dict[str, torch.Tensor]:
    """Zeros for the layer that models of the BERT type pool with, which is not used: without it, loading warns of it."""
    with torch.device("meta"):
        whole = type(network)(network.config)
    own = network.state_dict()
    return {key: torch.zeros(value.shape) for key, value in whole.state_dict().items() if key not in own}


def _specials(encoder: TextEncoder) -> tuple[int, int]:
    """How many special tokens the tokenizer puts before and behind a text."""
    backend = encoder.tokenize.backend
    mask = backend(_SAMPLE, return_special_tokens_mask=True)["special_tokens_mask"]
    before = mask.index(0)
    return before, mask[::-1].index(0)


def _blank(encoder: TextEncoder) -> list[int]:
    """Tokens that stand for white space alone."""
    backend = encoder.tokenize.backend
    special = set(backend.all_special_ids)
    known = [number for number in range(len(backend)) if number not in special]
    texts = backend.batch_decode([[number] for number in known], clean_up_tokenization_spaces=False)
    return [number for number, text in zip(known, texts, strict=True) if not text.strip()]


def _prompt_tokens(encoder: TextEncoder, prompts: Mapping[str, str], behind: int) -> dict[str, int]:
    """Tokens of each prompt as sentence-transformers counts them -> those that are attended to and not the report's.

    The space between prompt and report is in neither: with most words it is one token, before others one of its own.
    """
    backend = encoder.tokenize.backend
    found: dict[str, int] = {}
    for prompt in prompts.values():
        counted = str(len(backend(f"{prompt} ", split_special_tokens=True)["input_ids"]) - behind)
        read = backend(
            f"{prompt} {_SAMPLE}",
            split_special_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        places = zip(read["offset_mapping"], read["special_tokens_mask"], strict=True)
        skipped = next(n for n, ((start, _), special) in enumerate(places) if not special and start >= len(prompt))
        if found.setdefault(counted, skipped) != skipped:
            raise RunError(f"the prompt {prompt!r} has {counted} tokens, as another of the run's, but fewer of its own; "
                           "sentence-transformers cannot tell them apart")  # fmt: skip
    return found


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

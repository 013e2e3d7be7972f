"""How does transformers build or read a language model, with nothing missing, nothing drawn at random, nothing causal?"""

import contextlib
import hashlib
import inspect
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from cxrvl.config.nearest import nearest
from cxrvl.errors import ConfigError, WeightsError
from cxrvl.models.weights import load_weights

ATTENTION = ("sdpa", "eager", "flash_attention_2")
LEAST_VERSION = (5, 2)
ALIASES = {"cxr-bert": "bert"}
"""Model types that transformers does not know -> the one whose weights they have."""
_DAMAGE = (OSError, ValueError, RuntimeError, LookupError, OverflowError, SafetensorError, struct.error)
"""What readers of weights, GGUF files and tokenizers raise for bytes they do not expect."""
_OLD_SIZES = ("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor")
"""Keys that transformers takes and turns into `rope_parameters`."""
_SNAPSHOT = re.compile(r"/snapshots/([0-9a-f]{40})/")
"""Where the cache of a hub keeps the files of one commit."""
_HARMLESS = ("rotary_emb.inv_freq", "position_ids", "pooler.")


@dataclass(frozen=True)
class LoadedBase:
    """A language model and what belongs to it.

    network: from token ids to hidden states. head: from hidden states to logits over the vocabulary; None where the
    weights came without one. tokenizer: a Hugging Face tokenizer. fingerprint: SHA-256 hex of the weights as stored.
    decoder: made for text generation, so causal unless told otherwise. commit: of a hub, that they were read at; None
    where they come from elsewhere.
    """

    network: nn.Module
    head: nn.Module | None
    tokenizer: Any
    fingerprint: str
    decoder: bool
    commit: str | None = None

    @property
    def config(self) -> Any:
        """The network's config."""
        return self.network.config


def check_version() -> None:
    """Refuse a transformers that ignores `config.is_causal`; ConfigError says which is needed."""
    from transformers import __version__

    if tuple(int(part) for part in __version__.split(".")[:2]) < LEAST_VERSION:
        raise ConfigError(
            f"transformers {__version__} cannot make a decoder bidirectional by configuration; install 5.2 or newer"
        )


def from_pretrained(
    name: str, attention: str, dtype: torch.dtype, revision: str | None = None, gguf_file: str | None = None
) -> LoadedBase:
    """Read a model and its tokenizer from a folder or a hub; `gguf_file` is one inside the folder.

    A revision that is a branch or a tag is looked up once, so that all files are those of one commit.

    Raises:
        WeightsError: it is not there, it is damaged, holds more than tensors, or weights are missing that would be drawn
            at random.
        ConfigError: a package that it needs is not installed.
    """
    check_version()
    _check_attention(attention)
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, GgufConfig

    source: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
    options: dict[str, Any] = {"attn_implementation": attention, "dtype": "auto"}
    if gguf_file:
        options |= {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    commit = None
    try:
        with quiet(), packages(attention):
            if revision:
                commit = _commit(name, revision)
                source["revision"] = commit or revision
            options |= source
            config, tokenizer = _described(name, source)
            decoder = _is_decoder(config)
            kind: Any = AutoModelForCausalLM if decoder else AutoModelForMaskedLM
            model, report = kind.from_pretrained(name, config=config, output_loading_info=True, **options)
    except UnpicklingError as error:
        files = sorted(path.name for path in Path(name).glob("pytorch_model*.bin")) or ["pytorch_model.bin"]
        raise WeightsError(
            f"model.base: {files[0]} of {name} is damaged, or holds more than tensors, and such a file could run code on "
            "being read; copy it again, or have who made it save its weights as model.safetensors"
        ) from error
    except _DAMAGE as error:
        place = f"{name}/{gguf_file}" if gguf_file else name
        raise WeightsError(
            f"model.base: {place} cannot be read: {_reason(error, 400)}; copy it again, or name another"
        ) from error
    network, head = _parts(model)
    body = f"{model.base_model_prefix}."
    missing = [key for key in report["missing_keys"] if not any(part in key for part in _HARMLESS)]
    lost = [key for key in missing if key.startswith(body)]
    strange = [key for key in report["unexpected_keys"] if not any(part in key for part in _HARMLESS)]
    if lost or (strange and decoder):
        raise WeightsError(
            f"model.base: {name} is no whole {config.model_type} model: {len(lost)} tensors missing, {len(strange)} "
            f"unexpected, such as {(lost or strange)[0]}"
        )
    _check_tokenizer(tokenizer, network, name)
    fingerprint = _fingerprint(network)
    return LoadedBase(network.to(dtype), None if missing else head, tokenizer, fingerprint, decoder, commit)


def from_config(architecture: str, sizes: Mapping[str, Any], tokenizer: Any, attention: str) -> LoadedBase:
    """Draw a model with random weights, its vocabulary that of the tokenizer.

    Raises:
        ConfigError: an unknown architecture, sizes it does not have, naming the nearest, or does not accept.
    """
    check_version()
    _check_attention(attention)
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    special = {
        "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    try:
        config = AutoConfig.for_model(architecture, **{**special, **sizes})
        _check_sizes(config, sizes)
        decoder = _is_decoder(config)
        kind = AutoModelForCausalLM if decoder else AutoModelForMaskedLM
        with quiet(), packages(attention):
            model = kind.from_config(config, attn_implementation=attention)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"model.base: no {architecture!r} with {dict(sizes)}: {_reason(error, 300)}") from error
    network, head = _parts(model)
    _check_tokenizer(tokenizer, network, architecture)
    return LoadedBase(network, head, tokenizer, _fingerprint(network), decoder)


def from_state(folder: str, state: Mapping[str, torch.Tensor], attention: str) -> LoadedBase:
    """Build the network that a folder's config describes, without a head, and give it weights read elsewhere.

    Raises:
        WeightsError: the weights are not this network's, to the last key and shape; or the tokenizer is not there.
    """
    check_version()
    _check_attention(attention)
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    try:
        with quiet(), packages(attention):
            _check_tokenizer_file(folder)
            config = AutoConfig.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            network = AutoModel.from_config(config, attn_implementation=attention)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder} cannot be read: {_reason(error, 300)}") from error
    load_weights(network, state, origin=folder)
    _check_tokenizer(tokenizer, network, folder)
    return LoadedBase(network, None, tokenizer, _fingerprint(network), _is_decoder(config))


def read_tokenizer(path: Path) -> Any:
    """Read a tokenizer.json whose special tokens have their usual names.

    Raises:
        WeightsError: it is none.
    """
    from transformers import PreTrainedTokenizerFast

    there = _added_tokens(path)
    names = {
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
        "sep_token": "[SEP]", "mask_token": "[MASK]",
    }  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), **{name: token for name, token in names.items() if token in there}
    )


def _added_tokens(path: Path) -> set[str]:
    """The tokens that a tokenizer.json adds to its vocabulary; WeightsError where the file is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
            raise ValueError("no object with a model")
        return {entry["content"] for entry in content["added_tokens"]}
    except (ValueError, TypeError, LookupError) as error:
        raise WeightsError(
            f"{path} is no tokenizer ({type(error).__name__}: {_reason(error, 200)}); give a tokenizer.json as the library "
            "tokenizers writes it"
        ) from error


def _check_tokenizer_file(folder: str) -> None:
    """Refuse a folder's damaged tokenizer by its own name; a folder may have another kind of file, or be a hub's name."""
    path = Path(folder) / "tokenizer.json"
    if path.is_file():
        _added_tokens(path)


def _commit(name: str, revision: str) -> str | None:
    """The commit that a revision of a hub's model stands for now; None for a folder."""
    from transformers.utils import cached_file

    found = _SNAPSHOT.search(Path(str(cached_file(name, "config.json", revision=revision))).as_posix())
    return found.group(1) if found else None


def _described(name: str, source: Mapping[str, Any]) -> tuple[Any, Any]:
    """Config and tokenizer of a model; one that names classes of its own is read as what its weights are, without them."""
    from transformers import AutoConfig, AutoTokenizer, BertTokenizer, PretrainedConfig

    if "gguf_file" not in source:
        _check_tokenizer_file(name)
        content, _ = PretrainedConfig.get_config_dict(name, **source)
        alias = ALIASES.get(content.get("model_type", ""))
        if alias is not None:
            own = ("model_type", "auto_map", "architectures")
            config = AutoConfig.for_model(alias, **{key: value for key, value in content.items() if key not in own})
            return config, BertTokenizer.from_pretrained(name, **source)
    return AutoConfig.from_pretrained(name, **source), AutoTokenizer.from_pretrained(name, **source)


def _is_decoder(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return True
    raise WeightsError(f"model.base: {kind!r} is no text model that transformers can read as a decoder or an encoder")


def _parts(model: Any) -> tuple[nn.Module, nn.Module | None]:
    """The network without a head, and the head: all of it, for encoders that transform before they project."""
    network = model.base_model
    others = [child for child in model.children() if child is not network and any(True for _ in child.parameters())]
    return network, others[0] if len(others) == 1 else None


def _check_sizes(config: Any, sizes: Mapping[str, Any]) -> None:
    """Refuse keys that this kind of config does not have: transformers keeps them and uses none."""
    from transformers import PretrainedConfig

    kinds = (type(config), PretrainedConfig)
    known = {name for kind in kinds for name in inspect.signature(kind).parameters} | set(config.attribute_map)
    for key in sizes:
        if key not in known and key not in _OLD_SIZES:
            near = nearest(key, known)
            hint = f"; did you mean '{near}'?" if near else ""
            raise ConfigError(f"model.base.sizes: a {config.model_type} has no '{key}'{hint}")


def _check_attention(attention: str) -> None:
    if attention not in ATTENTION:
        raise ConfigError(f"model.base.attention is {attention!r}; expected one of {', '.join(ATTENTION)}")


def _check_tokenizer(tokenizer: Any, network: Any, name: str) -> None:
    rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise WeightsError(
            f"model.base: the tokenizer of {name} has {len(tokenizer)} tokens, its model {rows}: they do not belong "
            "together"
        )


def _fingerprint(network: nn.Module) -> str:
    """The SHA-256 hex digest of a model's weights: names, types and bytes, in order of name."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _reason(error: BaseException, length: int) -> str:
    return " ".join(str(error).split())[:length]


@contextlib.contextmanager
def packages(attention: str) -> Iterator[None]:
    """Say what to do about a package that transformers lacks."""
    try:
        yield
    except ImportError as error:
        remedy = "install what it names"
        if attention == "flash_attention_2":
            remedy = "install flash-attn on a machine with a CUDA device, or set model.base.attention=sdpa"
        raise ConfigError(
            f"model.base: a package is missing for attention={attention}: {_reason(error, 300)}; {remedy}"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and its advice to train what it drew at random, which is an error here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

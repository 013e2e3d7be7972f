"""How does a parity case describe its language model?"""

from tokenizers import Tokenizer, models
from transformers import LlamaConfig, PreTrainedTokenizerFast

HUGGING_FACE = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "rms_norm_eps", "max_position_embeddings", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip


def llama_config(given: dict) -> LlamaConfig:
    rope = {**given["rope_scaling"], "rope_theta": given["rope_theta"]}
    return LlamaConfig(**{key: given[key] for key in HUGGING_FACE}, rope_parameters=rope, tie_word_embeddings=False)


def tokenizer_of(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of as many words: the cases give ids."""
    words = Tokenizer(models.WordLevel({str(number): number for number in range(size)}, unk_token="0"))
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0", pad_token="2")

"""How are a batch's tokens cut into chunks that are embedded one after the other?"""

from torch import Tensor

from cxrvl.models.chunks import checked_chunk, in_chunks
from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.tokens import Tokens


def encode_in_chunks(encoder: TextEncoder, tokens: Tokens, chunk: int = 0) -> Tensor:
    """Return embeddings (B, D) with the gradients of the whole batch and the memory of one chunk, see `in_chunks`.

    Args:
        chunk: texts per chunk; 0 = the whole batch at once.

    Raises:
        ConfigError: a negative chunk.
    """
    return in_chunks(encoder, tokens_in(tokens, checked_chunk(chunk) or len(tokens.input_ids)))


def tokens_in(tokens: Tokens, chunk: int) -> list[Tokens]:
    """Cut a batch into chunks, each as wide as its longest text."""
    return [tokens.take(slice(start, start + chunk)) for start in range(0, len(tokens.input_ids), chunk)]

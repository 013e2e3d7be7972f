"""How are many texts embedded without computing padding? Sorted by length, in batches of so many tokens."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from cxrvl.models.text.encoder import TextEncoder

TOKENS_AT_ONCE = 8192


def embed_texts(
    encoder: TextEncoder,
    texts: Sequence[str],
    bodies: Tensor | np.ndarray | None = None,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Tensor:
    """Return the embeddings (B, D) of texts, in their order; the same as `encode` gives, up to rounding.

    Args:
        texts, bodies: as `TextEncoder.encode`; equal texts are computed once.
        tokens_at_once: of a forward pass, padding included.

    Raises:
        DataError: as `TextEncoder.encode`.
    """
    spans = [(0, len(text)) for text in texts] if bodies is None else np.asarray(bodies).tolist()
    asked = [(text, tuple(span)) for text, span in zip(texts, spans, strict=True)]
    different = {one: place for place, one in enumerate(dict.fromkeys(asked))}
    tokens = encoder.tokenize([text for text, _ in different], np.array([span for _, span in different]))
    lengths = tokens.attention_mask.sum(dim=1).numpy()
    results: list[Tensor] = []
    places: list[np.ndarray] = []
    for rows in batches_by_length(lengths, tokens_at_once):
        results.append(encoder(tokens.take(torch.from_numpy(rows)).to(encoder.device)))
        places.append(rows)
    embedded = torch.cat(results)
    back = np.empty(len(lengths), dtype=np.int64)
    back[np.concatenate(places)] = np.arange(len(lengths))
    return embedded[torch.from_numpy(back[[different[one] for one in asked]]).to(embedded.device)]


def batches_by_length(lengths: np.ndarray, tokens_at_once: int) -> Iterator[np.ndarray]:
    """Yield row numbers, the longest first, such that rows times longest row stays within a number of tokens."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, tokens_at_once // max(1, int(lengths[order[start]])))
        yield order[start : start + count]
        start += count

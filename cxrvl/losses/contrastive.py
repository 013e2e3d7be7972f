"""How near is each text to its own counterpart, and how far from the others and from its hard negatives?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from cxrvl.errors import ConfigError

NO_KEY = -1
"""A key that equals no other."""
NO_DOCUMENT = -2
"""In any key of a negative: there is none; it only fills the batch."""
DIRECTIONS = ("query_to_document", "both")


class HardNegativeLoss(nn.Module):
    """InfoNCE over the positives and hard negatives of a whole batch, on all devices (papers/llm2clip4cxr.md, 1.4).

    Cosine similarities times `scale`; the classes of query i are all positives and all negatives, the right one its own
    positive. A document that counts as right for a query too is left out of its classes: see `keys`.

    Args:
        scale: 1 / temperature.
        directions: query_to_document (the release), or both: then also each positive is to find its query among all.

    Raises:
        ConfigError: a scale that is not positive, or an unknown direction.
    """

    def __init__(self, scale: float = 20.0, directions: str = "query_to_document") -> None:
        super().__init__()
        if scale <= 0 or directions not in DIRECTIONS:
            raise ConfigError(
                f"contrastive loss: scale={scale}, directions={directions!r}; expected a positive scale and one of "
                f"{', '.join(DIRECTIONS)}"
            )
        self.scale, self.directions = scale, directions

    def forward(
        self,
        query: Tensor,
        positive: Tensor,
        negative: Tensor | None = None,
        keys: Tensor | None = None,
        negative_keys: Tensor | None = None,
        alone: bool = False,
    ) -> Tensor:
        """Return the mean loss of this device's queries, scalar; the devices' average is that of the whole batch.

        Args:
            query, positive: (B, D) embeddings, row i of one belongs to row i of the other; equal B on every device.
            negative: (N, D) hard negatives of any rows; equal N on every device.
            keys: (B, K) int64 of each pair. Pairs that share a key, in whichever columns (a query may have the text of
                another's positive), are no negatives of each other; -1 shares with none. What is of another kind, such
                as a text and a label set, must have other keys.
            negative_keys: (N, K) the same of the hard negatives; -2 in any column leaves one out altogether.
            alone: this device's documents are all there are, such as in validation, where batches differ in size.
        """
        wide = torch.promote_types(query.dtype, torch.float32)
        logits, right = self.logits(query, positive, negative, keys, negative_keys, alone)
        loss = cross_entropy(logits, right)
        if self.directions == "query_to_document":
            return loss
        over = _identity if alone else gathered
        queries = over(normalize(query.to(wide), dim=-1))
        back = self.scale * normalize(positive.to(wide), dim=-1) @ queries.T
        # A pair that is no negative one way is none the other way.
        back = back.masked_fill(logits[:, : len(queries)] == float("-inf"), float("-inf"))
        return (loss + cross_entropy(back, right)) / 2

    def logits(
        self,
        query: Tensor,
        positive: Tensor,
        negative: Tensor | None = None,
        keys: Tensor | None = None,
        negative_keys: Tensor | None = None,
        alone: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, documents) of this device's queries, -inf where a document is no class, and the right ones."""
        over = _identity if alone else gathered
        wide = torch.promote_types(query.dtype, torch.float32)
        documents = over(normalize(positive.to(wide), dim=-1))
        first = 0 if alone else rank() * len(query)
        right = first + torch.arange(len(query), device=query.device)
        if negative is not None:
            documents = torch.cat([documents, over(normalize(negative.to(wide), dim=-1))])
        logits = self.scale * normalize(query.to(wide), dim=-1) @ documents.T
        left_out = _left_out(keys, negative_keys, right, documents.shape[0], over)
        return logits if left_out is None else logits.masked_fill(left_out, float("-inf")), right


def gathered(values: Tensor) -> Tensor:
    """Rows (n, ...) of all devices in the order of their ranks, with gradient to the device each row came from."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return values
    from torch.distributed.nn.functional import all_gather

    if values.is_floating_point():
        return torch.cat(all_gather(values))
    parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def rank() -> int:
    """This device's number among those that compute a step together."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _left_out(
    keys: Tensor | None, negative_keys: Tensor | None, right: Tensor, documents: int, over: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """Which documents are no classes of a query, (B, documents) bool: those that share a key, but for its own positive."""
    if keys is None:
        return None
    every = over(keys)
    if negative_keys is not None:
        every = torch.cat([every, over(negative_keys)])
    elif len(every) < documents:
        every = torch.cat([every, every.new_full((documents - len(every), every.shape[1]), NO_KEY)])
    same = torch.zeros(len(keys), len(every), dtype=torch.bool, device=keys.device)
    for column in keys.T:  # one at a time: all against all would take K times the memory
        same |= ((column[:, None, None] == every[None]) & (column[:, None, None] != NO_KEY)).any(dim=-1)
    same |= (every == NO_DOCUMENT).any(dim=-1)[None]
    same[torch.arange(len(keys), device=keys.device), right] = False
    return same


def _identity(values: Tensor) -> Tensor:
    return values

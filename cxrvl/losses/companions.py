"""Which texts of a batch are right for an image besides its own, and which are no wrong ones?"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from cxrvl.errors import ConfigError
from cxrvl.losses.contrastive import NO_KEY, gathered, rank

WORDS = 4096
_BLOCK = 512


@dataclass(frozen=True)
class Companions:
    """What is known of the pairs of this device besides their embeddings.

    keys: (B, K) int64; pairs that share a key in a column (the same study, the same findings) are no negatives of each
    other; -1 shares with none. words: (B, W) bool, which words each report has, see `word_table`.
    """

    keys: Tensor | None = None
    words: Tensor | None = None

    def rows(self, chosen: slice) -> "Companions":
        """Return what is known of some of the pairs."""
        return Companions(*(None if part is None else part[chosen] for part in (self.keys, self.words)))


@dataclass(frozen=True)
class Softening:
    """Reports that say nearly the same share the target with an image's own report.

    share: of the target that goes to near-duplicates, in [0, 1); it is spread over them and the own report by likeness.
    near: likeness from which two reports are near-duplicates, in (0, 1]; 1 = the same words.

    Raises:
        ConfigError: numbers outside their ranges.
    """

    share: float = 0.3
    near: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or not 0 < self.near <= 1:
            raise ConfigError(
                f"soft targets: share={self.share}, near={self.near}; expected 0 <= share < 1 and 0 < near <= 1"
            )


def word_table(texts: Sequence[str], width: int = WORDS) -> Tensor:
    """Return which words each text has, (B, width) bool: a word's column is a hash of it, case aside.

    Two different words may share a column: with 4,096 of them the likeness of two reports of 50 words moves by about 1 %.
    """
    table = np.zeros((len(texts), width), dtype=bool)
    for row, text in enumerate(texts):
        table[row, [crc32(word.encode("utf-8", "surrogatepass")) % width for word in _words(text)]] = True
    return torch.from_numpy(table)


def likeness(words: Tensor, others: Tensor) -> Tensor:
    """Return the Jaccard index of word sets, words (B, W) and others (N, W) bool -> (B, N) float32 in [0, 1]."""
    own = words.float()
    # As numbers some at a time: all of a large batch's words would take more room than the loss.
    common = torch.cat([own @ some.float().T for some in others.split(_BLOCK)], dim=1)
    either = own.sum(1)[:, None] + others.sum(1)[None] - common
    return torch.where(either > 0, common / either.clamp(min=1), 0.0)


def left_out(keys: Tensor, every: Tensor, right: Tensor) -> Tensor:
    """Return which of all pairs are no negatives of this device's, (B, N) bool: those that share a key; never its own.

    keys: (B, K) of this device; every: (N, K) of all; right: (B,) where this device's pairs are among all.
    """
    same = ((keys[:, None] == every[None]) & (keys[:, None] != NO_KEY)).any(dim=-1)
    same[torch.arange(len(keys), device=keys.device), right] = False
    return same


def places(count: int, device: torch.device, alone: bool) -> Tensor:
    """Return where this device's pairs are among those of all, (count,) int64."""
    return (0 if alone else rank() * count) + torch.arange(count, device=device)


def everyone(companions: Companions, softening: Softening | None, alone: bool) -> Companions:
    """Return what is known of the pairs of all devices; of words nothing where no target is soft.

    Raises:
        ConfigError: soft targets without the words of the reports.
    """
    over = identity if alone else gathered
    soft = softening is not None and softening.share > 0
    if soft and companions.words is None:
        raise ConfigError("soft targets need the words of the reports; the task gives them if the loss has `soften`")
    keys = None if companions.keys is None else over(companions.keys)
    words = over(companions.words.to(torch.uint8)) if soft and companions.words is not None else None
    return Companions(keys, words)


def related(
    here: Companions, every: Companions, softening: Softening | None, right: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Return what is left out, (B, N) bool, and the weights of near-duplicates, (B, N) with the own report at 1.

    Each is None where nothing is to be done. A near-duplicate is never left out: it is right, in part.

    Args:
        here: of B pairs. every: of all N, see `everyone`. right: (B,) where these pairs are among all.
    """
    near = None
    if softening is not None and here.words is not None and every.words is not None:
        like = likeness(here.words, every.words)
        near = like.masked_fill(like < softening.near, 0.0)
        near[torch.arange(len(right), device=right.device), right] = 1.0
    out = None
    if here.keys is not None and every.keys is not None:
        out = left_out(here.keys, every.keys, right)
        out = out if near is None else out & (near == 0)
    return out, near


def targets(near: Tensor | None, right: Tensor, documents: int, share: float) -> Tensor:
    """Return the target distribution (B, N): 1 - share for the own report, share spread by nearness."""
    own = torch.nn.functional.one_hot(right, documents).float()
    return own if near is None else (1 - share) * own + share * near / near.sum(1, keepdim=True)


def identity(values: Tensor) -> Tensor:
    """Return what it is given: the gathering of a device that is alone."""
    return values


def _words(text: str) -> set[str]:
    return set(text.lower().replace(".", " ").replace(",", " ").split())

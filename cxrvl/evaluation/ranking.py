"""How many documents lie nearer to a query than its own? Ranks and nearest documents of large pools, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrvl.evaluation.predictions import OWN_TIED

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]
BLOCK = 1024
"""Queries compared at once: 1,024 by 10,000 similarities are 40 MB."""


@dataclass(frozen=True)
class Pool:
    """The documents of a retrieval, those of one text side by side, and among them those of one study.

    vectors: (U, D) float32. counts: (U,) how many documents of the pool each stands for.
    order: (U,) where each lay in the arrays given to `build`.
    texts, studies: (T, 2), (S, 2) where the documents of each text or study begin and end, by its number.
    several: documents whose text others have, too; they come first.
    """

    vectors: Vectors
    counts: NDArray[np.float32]
    order: Places
    texts: Places
    studies: Places
    several: int

    @classmethod
    def build(
        cls, vectors: Vectors, texts: Places, studies: Places | None = None, counts: NDArray[np.int64] | None = None
    ) -> "Pool":
        """Lay out documents.

        Args:
            vectors: (U, D).
            texts: (U,) number of each one's text, each of 0 to T - 1 there.
            studies: (U,) number of each one's study, each of 0 to S - 1 there, a study with one text; None = the text's.
            counts: (U,) see the class; None = each for itself.
        """
        owners = texts if studies is None else studies
        alone = np.bincount(texts)[texts] == 1
        order = np.lexsort((np.arange(len(texts)), owners, texts, alone)).astype(np.int64)
        many = np.ones(len(texts)) if counts is None else counts
        return cls(
            np.ascontiguousarray(vectors[order]), many[order].astype(np.float32), order, _spans(texts[order]),
            _spans(owners[order]), int((~alone).sum()),
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Documents, each counted as often as it occurs."""
        return int(self.counts.sum(dtype=np.float64))

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """How many documents are chosen in each row of (n, U), each counted as often as it occurs."""
        if (self.counts == 1).all():
            return np.asarray(chosen.sum(axis=1), dtype=np.float32)
        return np.asarray(chosen.astype(np.float32) @ self.counts)


class Nearest:
    """The nearest documents of every query, kept while similarities pass by.

    near: (n, k) float32 similarities, the highest first. places: (n, k) int64, in the arrays of `Pool.build`. k is the
    smaller of `count` and the pool's rows; a document that stands for several comes once.
    """

    def __init__(self, queries: int, pool: Pool, count: int) -> None:
        self._order = pool.order
        shape = (queries, min(count, len(pool.vectors)))
        self.near, self.places = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.int64)

    def keep(self, here: slice, near: Vectors) -> None:
        """Keep what is nearest of the similarities (b, U) of some queries."""
        import torch  # not above: predictions are read without it

        top = torch.from_numpy(near).topk(self.near.shape[1], dim=1)
        self.near[here], self.places[here] = top.values.numpy(), self._order[top.indices.numpy()]


def nearest(queries: Vectors, pool: Pool, count: int) -> Nearest:
    """Return the nearest documents of queries (n, D)."""
    found = Nearest(len(queries), pool, count)
    for here, near in _blocks(queries, pool):
        found.keep(here, near)
    return found


def ranks(
    queries: Vectors, pool: Pool, texts: Places, studies: Places | None = None, top: Nearest | None = None
) -> dict[str, np.ndarray]:
    """Count, for every query, the documents nearer to it than its own one, and those as near.

    Args:
        queries: (n, D), compared with the documents by their dot product.
        texts, studies: (n,) number of each query's text and study in the pool; without studies no `_diagonal`.
        top: keeps the nearest documents on the way.

    Returns:
        (n,) float32 each. `better`, `tied`: documents with another text than the query's, nearer than the nearest one with
        its text, or as near; `better_unique`, `tied_unique`: the same, a text's documents counted once; `better_diagonal`,
        `tied_diagonal`: documents of another study, against the nearest one of the query's; `own`: similarity to the
        nearest document of its text; `own_tied`: documents of its text that lie as near as that; `copies`: documents with
        its text; `pool`, `pool_unique`: sizes. Every duplicate policy follows from these, see
        `cxrvl.evaluation.text_metrics.rank_values`.
    """
    names = ["better", "tied", "better_unique", "tied_unique", "own", OWN_TIED]
    found = {name: np.zeros(len(queries), dtype=np.float32) for name in names}
    if studies is not None:
        found |= {name: np.zeros(len(queries), dtype=np.float32) for name in ("better_diagonal", "tied_diagonal")}
    for here, near in _blocks(queries, pool):
        if top is not None:
            top.keep(here, near)
        spans = pool.texts[texts[here]]
        mine = _nearest_within(near, spans)
        found["own"][here] = mine[:, 0]
        better, tied = near > mine, near == mine
        level = pool.count(tied)
        _clear(tied, spans)
        found["better"][here], found["tied"][here] = pool.count(better), pool.count(tied)
        found[OWN_TIED][here] = level - found["tied"][here]
        found["better_unique"][here], found["tied_unique"][here] = _texts_among(better, tied, pool)
        if studies is not None:
            spans = pool.studies[studies[here]]
            mine = _nearest_within(near, spans)
            tied = near == mine
            _clear(tied, spans)
            found["better_diagonal"][here], found["tied_diagonal"][here] = pool.count(near > mine), pool.count(tied)
    held = np.array([pool.counts[begin:end].sum() for begin, end in pool.texts])
    sizes = {
        "copies": held[texts],
        "pool": np.full(len(queries), pool.size),
        "pool_unique": np.full(len(queries), len(pool.texts)),
    }
    return {**found, **{name: values.astype(np.float32) for name, values in sizes.items()}}


def _blocks(queries: Vectors, pool: Pool) -> Iterator[tuple[slice, Vectors]]:
    """Some queries at a time, and their similarities (b, U) to all documents."""
    for start in range(0, len(queries), BLOCK):
        here = slice(start, start + BLOCK)
        yield here, queries[here] @ pool.vectors.T


def _spans(numbers: Places) -> Places:
    """Where each number's run begins and ends, (numbers, 2), in the order of the numbers; a number has one run."""
    begins = np.flatnonzero(np.diff(numbers, prepend=-1))
    spans = np.empty((len(begins), 2), dtype=np.int64)
    spans[numbers[begins]] = np.stack([begins, np.append(begins[1:], len(numbers))], axis=1)
    return spans


def _nearest_within(near: Vectors, spans: Places) -> Vectors:
    """The highest similarity (n, 1) of each row of (n, U) between two places (n, 2)."""
    return np.array([[row[begin:end].max()] for row, (begin, end) in zip(near, spans, strict=True)], dtype=np.float32)


def _clear(chosen: NDArray[np.bool_], spans: Places) -> None:
    for row, (begin, end) in zip(chosen, spans, strict=True):
        row[begin:end] = False


def _texts_among(
    better: NDArray[np.bool_], tied: NDArray[np.bool_], pool: Pool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How many texts have a document that is nearer, and how many others one that is as near, (n,) each."""
    alone = slice(pool.several, None)
    nearer = better[:, alone].sum(axis=1).astype(np.float32)
    as_near = tied[:, alone].sum(axis=1).astype(np.float32)
    if pool.several:
        begins = np.unique(pool.texts[pool.texts[:, 0] < pool.several, 0])
        some = np.logical_or.reduceat(better[:, : pool.several], begins, axis=1)
        equal = np.logical_or.reduceat(tied[:, : pool.several], begins, axis=1) & ~some
        nearer += some.sum(axis=1)
        as_near += equal.sum(axis=1)
    return nearer, as_near

"""Which reports of other patients read alike and say something else? Hard negatives found by their words."""

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from cxrvl.data.reports.texts import Texts
from cxrvl.data.triplets.labels import label_set
from cxrvl.data.triplets.pairs import SectionPairs
from cxrvl.data.triplets.triplet import section
from cxrvl.errors import ConfigError

_BLOCK = 512


@dataclass(frozen=True)
class MinedNegatives(SectionPairs):
    """As `SectionPairs`, with the positives of other reports as hard negatives: near in words, other in findings.

    negatives: how many. candidates: a query's nearest so many are looked through for those with other findings by the
    rule labeler; one of them is drawn anew in every epoch. pool: reports that are looked among, drawn once.
    """

    negatives: int = 1
    candidates: int = 32
    pool: int = 5000
    _found: dict[int, tuple[int, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hard_negatives < 1 or self.candidates < self.hard_negatives or self.pool < self.candidates:
            raise ConfigError(
                f"mined negatives: negatives={self.negatives}, candidates={self.candidates}, pool={self.pool}; expected "
                "1 <= negatives <= candidates <= pool"
            )

    def items(self, texts: Texts, rows: np.ndarray) -> np.ndarray:
        """Return the rows that have both sections and a hard negative, which is looked for here."""
        usable = super().items(texts, rows)
        if not len(usable):
            return usable
        rng = np.random.default_rng(texts.seed)
        pool = np.sort(rng.permutation(usable)[: self.pool])
        positives = {int(row): section(texts, int(row), self.positive) for row in usable}
        labels = {row: label_set(text) for row, text in positives.items()}
        vectors = _tf_idf([positives[int(row)] for row in usable])
        places = np.searchsorted(usable, pool)
        for start in range(0, len(usable), _BLOCK):
            near = (vectors[start : start + _BLOCK] @ vectors[places].T).toarray()
            best = np.argsort(-near, axis=1, kind="stable")[:, : self.candidates + 1]
            for row, order in zip(usable[start : start + _BLOCK], best, strict=True):
                own = labels[int(row)]
                others = (int(pool[place]) for place in order)
                self._found[int(row)] = tuple(o for o in others if labels[o] and own and labels[o] != own)
        return np.array([row for row in usable if self._found[int(row)]], dtype=np.int64)

    def hard(self, texts: Texts, item: int, epoch: int, positive: str) -> tuple[str, ...]:
        """Return the positives of reports drawn among the nearest with other findings."""
        rng = np.random.Generator(np.random.Philox(key=[texts.seed, epoch], counter=[0, 0, 1, item]))
        found = self._found[item]
        drawn = rng.permutation(len(found))[: self.hard_negatives]
        return tuple(section(texts, found[place], self.positive) for place in drawn)


def _tf_idf(texts: list[str]) -> csr_matrix:
    """Unit rows (n, words) of how often each word occurs, rare words counting more."""
    vocabulary: dict[str, int] = {}
    places, starts = [], [0]
    for text in texts:
        places += [vocabulary.setdefault(word, len(vocabulary)) for word in text.lower().split()]
        starts.append(len(places))
    counts = csr_matrix((np.ones(len(places)), places, starts), shape=(len(texts), max(1, len(vocabulary))))
    counts.sum_duplicates()
    seen = np.bincount(counts.indices, minlength=counts.shape[1])
    counts.data = (1 + np.log(counts.data)) * np.log((1 + len(texts)) / (1 + seen))[counts.indices]
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    counts.data /= np.maximum(np.repeat(norms, np.diff(counts.indptr)), 1e-12)
    return counts

"""How do a labelled and an unlabelled stream of images share the steps of a training?"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.data.modules.shares import repeated
from cxrvl.errors import ConfigError

FINEST = 10_000
"""The largest denominator of a ratio: 0.45 is nine labelled parts in twenty steps, exactly."""


class TwoStreams(NamedTuple):
    """The rows of one step; None for the stream that a step has no part of."""

    labelled: BatchRows | None
    unlabelled: BatchRows | None


def check_labelled(labelled: np.ndarray, batch_size: int, world: int, accumulate: int) -> None:
    """Refuse labelled batches that cannot be made.

    Args:
        labelled: table rows with labels, (n,) int64. batch_size: rows of a global labelled batch.

    Raises:
        ConfigError: as said.
    """
    if batch_size < 1 or batch_size % (world * accumulate):
        raise ConfigError(
            f"data.labelled_batch_size={batch_size} cannot be cut evenly into {world} device(s) x "
            f"{accumulate} accumulated part(s)"
        )
    if len(labelled) < batch_size:
        raise ConfigError(
            f"{len(labelled)} images are labelled, fewer than data.labelled_batch_size={batch_size}; lower it, "
            "or raise data.label_fraction"
        )


class InterleavedOrder(TrainOrder):
    """The unlabelled rows once per epoch, with a labelled part in a stated share of the steps.

    The labelled rows are an endless stream, reshuffled whenever all have come up; how far it has got is a function of the
    step, counted over all epochs. Parts are spread evenly and never come in the very first step if there are fewer of
    them than steps: a warm-up has the learning rate 0 there, which would waste them. In accumulated steps every part of
    the step has its share of both streams.

    Args:
        labelled: table rows with labels, (n,) int64.
        rows, batch_size, seed, options: of the unlabelled stream, as in `TrainOrder`.
        labelled_batch_size: labelled rows of a global labelled part.
        ratio: labelled parts per step, in (0, 1].

    Raises:
        ConfigError: a ratio outside (0, 1], a labelled part that cannot be cut evenly, fewer labelled rows than one part.
    """

    def __init__(
        self,
        labelled: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        labelled_batch_size: int,
        ratio: float,
        **options: Any,
    ) -> None:
        super().__init__(rows, batch_size, seed, **options)
        if not 0 < ratio <= 1:
            raise ConfigError(f"data.ratio is {ratio}; expected labelled parts per step, above 0 and at most 1")
        check_labelled(labelled, labelled_batch_size, self.world, self.accumulate)
        self.labelled, self.labelled_batch_size = labelled, labelled_batch_size
        self.ratio = Fraction(ratio).limit_denominator(FINEST)

    def labelled_parts(self, steps: int) -> int:
        """Return how many of the first steps of a training have a labelled part."""
        return int(steps * self.ratio)

    def __iter__(self) -> Iterator[TwoStreams]:  # type: ignore[override]
        """Yield the rows of each step from `start` on."""
        steps = len(self) // self.accumulate
        for batch, unlabelled in enumerate(super().__iter__(), self.start):
            whole, part = divmod(batch, self.accumulate)
            epoch = unlabelled.epoch or 0
            yield TwoStreams(self._labelled(epoch * steps + whole, part, epoch), unlabelled)

    def _labelled(self, step: int, part: int, epoch: int) -> BatchRows | None:
        """Return this device's labelled rows of a step; None if it has no labelled part."""
        before = self.labelled_parts(step)
        if self.labelled_parts(step + 1) == before:
            return None
        size = self.labelled_batch_size
        together = repeated(self.labelled, self.seed, "labelled", before * size, size)
        share = together[self.rank * self.accumulate + part :: self.world * self.accumulate]
        return BatchRows(share.tolist(), epoch)

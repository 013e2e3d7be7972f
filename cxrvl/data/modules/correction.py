"""In which order does the released DISTL read its images: unlabelled steps, broken off for whole passes over the labels?"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cxrvl.data.modules.interleaving import TwoStreams, check_labelled
from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.errors import ConfigError


class CorrectionOrder(TrainOrder):
    """Every step holds one stream: the unlabelled rows once per epoch, with labelled passes ("corrections") between them.

    A correction follows the unlabelled steps 0, `every`, 2 `every`, ..., counted over all epochs, so epochs differ in
    length and `len` is that of the epoch set last. The period is in steps whatever the data's size: with few images a
    generation has a single correction, at step 0, where a warm-up has the learning rate 0 (Park et al., Nature
    Communications 2022, released code). `InterleavedOrder` is what mends it.

    Args:
        labelled: table rows with labels, (n,) int64.
        rows, batch_size, seed, options: of the unlabelled stream, as in `TrainOrder`.
        labelled_batch_size: labelled rows of a global batch.
        every: unlabelled steps from one correction to the next, at least 1.
        reshuffle: another order in every correction; the release repeats one.

    Raises:
        ConfigError: a period below 1, or a labelled pass that cannot be cut into batches.
    """

    def __init__(
        self,
        labelled: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        labelled_batch_size: int,
        every: int,
        reshuffle: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(rows, batch_size, seed, **options)
        if every < 1:
            raise ConfigError(f"data.correction_every is {every}; expected unlabelled steps from one labelled pass to the "
                              "next, at least 1; a very large number leaves the one at step 0")  # fmt: skip
        check_labelled(labelled, labelled_batch_size, self.world, self.accumulate)
        self.every, self.reshuffle = every, reshuffle
        self.labelled = TrainOrder(
            labelled, labelled_batch_size, seed, rank=self.rank, world=self.world, accumulate=self.accumulate,
            drop_last=self.drop_last,
        )  # fmt: skip

    @property
    def unlabelled_batches(self) -> int:
        """Unlabelled (micro-)batches of an epoch."""
        return super().__len__()

    def corrections(self) -> list[int]:
        """Return after which unlabelled steps of this epoch, from 0, a labelled pass follows."""
        steps = self.unlabelled_batches // self.accumulate
        return [step for step in range(steps) if (self.epoch * steps + step) % self.every == 0]

    def __len__(self) -> int:
        return self.unlabelled_batches + len(self.corrections()) * len(self.labelled)

    def __iter__(self) -> Iterator[TwoStreams]:  # type: ignore[override]
        """Yield the rows of each batch from `start` on."""
        first, self.start = self.start, 0
        for number, step in enumerate(self._epoch()):
            if number >= first:
                yield step

    def _epoch(self) -> Iterator[TwoStreams]:
        order, corrections = self.drawn(), set(self.corrections())
        steps = self.unlabelled_batches // self.accumulate
        for batch in range(self.unlabelled_batches):
            whole, part = divmod(batch, self.accumulate)
            together = order[whole * self.batch_size : (whole + 1) * self.batch_size]
            share = together[self.rank * self.accumulate + part :: self.world * self.accumulate]
            yield TwoStreams(None, BatchRows(share.tolist(), self.epoch))
            if whole in corrections and part == self.accumulate - 1:
                self.labelled.set_epoch((self.epoch * steps + whole) // self.every if self.reshuffle else 0)
                for rows in self.labelled:
                    yield TwoStreams(BatchRows(rows, self.epoch), None)

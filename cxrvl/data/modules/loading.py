"""In which order are batches read, and how does a killed run find its place again?"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cxrvl.config.devices import check_cut
from cxrvl.data.modules.shares import Shares
from cxrvl.errors import ConfigError


class BatchRows(list[int]):
    """Table rows of one batch, as a sampler hands them to a data set. epoch: which one they are read in; None = none."""

    def __init__(self, rows: Iterable[int], epoch: int | None = None) -> None:
        super().__init__(rows)
        self.epoch = epoch


class TrainOrder:
    """Batches of one epoch for one device: a pure function of (seed, epoch), whatever came before.

    Every epoch is one permutation of the rows, cut into global batches; each device and accumulated part takes
    its share, so that a global batch holds the same rows for any number of devices.

    Args:
        rows: table rows of the training split, (n,) int64.
        batch_size: rows of a global batch.
        rank, world: which of how many devices.
        accumulate: parts a device's share is cut into.
        drop_last: leave out the incomplete global batch at the end (its BatchNorm statistics would be noisier).
        shares: how often several sources come up; an epoch then is what it draws from them.

    Raises:
        ConfigError: the global batch cannot be cut evenly, or an epoch is smaller than one.
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        drop_last: bool = True,
        shares: Shares | None = None,
    ) -> None:
        check_cut(batch_size, world, accumulate)
        self.samples = len(rows) if shares is None else len(shares)
        if self.samples < batch_size and drop_last:
            raise ConfigError(
                f"a training epoch holds {self.samples} images or texts, fewer than one global batch of {batch_size}; "
                "lower data.batch_size or set data.drop_last=false"
            )
        if world * accumulate > 1 and not drop_last:
            raise ConfigError(
                "data.drop_last=false needs one device and no accumulation: the rest cannot be shared out"
            )
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.world, self.accumulate, self.drop_last = rank, world, accumulate, drop_last
        self.shares = shares
        self.epoch = 0
        self.start = 0

    @property
    def sampler(self) -> "TrainOrder":
        """This order itself: Lightning sets the epoch on `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose permutation is read next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of (micro-)batches of a whole epoch."""
        if self.drop_last:
            return self.samples // self.batch_size * self.accumulate
        return -(-self.samples // self.batch_size)

    def drawn(self) -> np.ndarray:
        """Return the rows of this epoch in their order, (samples,) int64."""
        rows = self.rows if self.shares is None else self.shares.rows(self.epoch)
        generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch]))
        return rows[generator.permutation(len(rows))]

    def __iter__(self) -> Iterator[BatchRows]:
        """Yield the rows of each batch, from `start` on; the next epoch begins at its beginning again."""
        order = self.drawn()
        first, self.start = self.start, 0
        for batch in range(first, len(self)):
            whole, part = divmod(batch, self.accumulate)
            together = order[whole * self.batch_size : (whole + 1) * self.batch_size]
            share = together[self.rank * self.accumulate + part :: self.world * self.accumulate]
            yield BatchRows(share.tolist(), self.epoch)


class WholeSplit:
    """Batches of given rows in order, none left out; devices take turns in taking a batch.

    A batch holds the same rows for any number of devices, so what is computed from it is the same to the last bit.
    Every device has as many batches, since devices wait for one another: one without a batch in the last round
    repeats the last batch of all, and whoever gathers keeps one of them.

    Args:
        rows: table rows, (n,) int64.
        batch_size: rows of a batch; the last may be smaller.
        rank, world: which of how many devices.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.rows, self.batch_size, self.rank, self.world = rows, batch_size, rank, world
        self.batches = -(-len(rows) // batch_size)

    def __len__(self) -> int:
        return -(-self.batches // self.world)

    def __iter__(self) -> Iterator[BatchRows]:
        """Yield the rows of each batch."""
        for turn in range(len(self)):
            start = min(turn * self.world + self.rank, self.batches - 1) * self.batch_size
            yield BatchRows(self.rows[start : start + self.batch_size].tolist())


class ResumableLoader(DataLoader):
    """A DataLoader that knows how many batches it has handed out, so that Lightning resumes inside an epoch."""

    def __init__(self, dataset: Dataset, order: TrainOrder, **options: Any) -> None:
        # A generator of its own: the loader must not draw from the global one, which a resumed run would draw twice.
        super().__init__(dataset, batch_sampler=order, generator=torch.Generator().manual_seed(0), **options)
        self.order = order
        self.handed_out = 0
        self.seconds_waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches, counting what was handed out, whatever workers have fetched ahead, and what it took."""
        self.handed_out = self.order.start
        asked = time.perf_counter()
        for batch in super().__iter__():
            self.seconds_waited += time.perf_counter() - asked
            self.handed_out += 1
            yield batch
            asked = time.perf_counter()

    def state_dict(self) -> dict[str, int]:
        """Return the place inside the epoch."""
        return {"epoch": self.order.epoch, "handed_out": self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a place inside an epoch."""
        self.order.epoch = state["epoch"]
        self.order.start = state["handed_out"]

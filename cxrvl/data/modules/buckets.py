"""How do texts of like length come together in a batch, while the order stays random and resumable?"""

from typing import Any

import numpy as np

from cxrvl.data.modules.loading import TrainOrder
from cxrvl.errors import ConfigError


class BucketedOrder(TrainOrder):
    """A training order whose batches hold rows of like length.

    The epoch's shuffled rows are cut into buckets of so many batches; a bucket is sorted by length and cut into batches,
    and the batches of the epoch are shuffled. Which rows an epoch holds, and that it is a pure function of (seed,
    epoch), stays as in `TrainOrder`; an incomplete last batch stays the last.

    Args:
        lengths: (N,) int64 length of every table row.
        bucket_batches: batches of a bucket; 1 leaves batches as they were, more make them more alike and less random.
        options: those of `TrainOrder`.

    Raises:
        ConfigError: bucket_batches below 1.
    """

    def __init__(self, *args: Any, lengths: np.ndarray, bucket_batches: int, **options: Any) -> None:
        super().__init__(*args, **options)
        if bucket_batches < 1:
            raise ConfigError(f"data.bucket_batches is {bucket_batches}; expected at least 1 (no bucketing)")
        self.lengths, self.bucket_batches = lengths, bucket_batches

    def drawn(self) -> np.ndarray:
        """Return the rows of this epoch, batch after batch."""
        rows = super().drawn()
        if self.bucket_batches == 1:
            return rows
        whole = len(rows) // self.batch_size
        full = rows[: whole * self.batch_size]
        bucket = np.arange(len(full)) // (self.batch_size * self.bucket_batches)
        batches = full[np.lexsort((self.lengths[full], bucket))].reshape(whole, self.batch_size)
        generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch], counter=[0, 0, 0, 1]))
        return np.concatenate([batches[generator.permutation(whole)].ravel(), rows[len(full) :]])

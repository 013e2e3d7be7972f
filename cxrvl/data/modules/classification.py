"""What does a batch for multi-label classification hold?"""

import numpy as np

from cxrvl.data.modules.base import Batch
from cxrvl.data.modules.image import ImageDataModule


class ClassificationDataModule(ImageDataModule):
    """Radiographs with one value per label.

    Batches: `image` (B, 1, h, w) float32 in [0, 1], `target` (B, L) float32 (1 positive, 0 negative,
    -1 uncertain, NaN not stated), `index` (B,) int64 row of the study table, `fov` (B, 4) float32.
    """

    def extra(self, index: np.ndarray, epoch: int | None = None) -> Batch:
        """Return the targets of study-table rows."""
        return {"target": self.target(index)}

    def prepare_data(self) -> None:
        """Refuse labels that cannot be learnt before decoding images, which may take hours; see `setup`."""
        if self.fitting:
            self._whole_table().check_trainable()
        super().prepare_data()

    def setup(self, stage: str) -> None:
        """Refuse to train on labels that cannot be learnt; unreadable images may have taken the last positive away.

        Raises:
            DataError: a label without a positive or without a negative training image.
        """
        if stage == "fit":
            self.table.check_trainable()

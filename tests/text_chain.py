"""What do tests of finished text runs share? How small they are, and how what they embedded is read."""

import numpy as np
import pyarrow.parquet as pq

SMALL = (
    "data.source.images=160", "data.batch_size=8", "logger=none", "model.base.sizes.hidden_size=32",
    "model.base.sizes.intermediate_size=64", "trainer.max_epochs=1",
)  # fmt: skip
EVALUATIONS = ("retrieval", "styles", "noise", "errors", "similarity", "probe", "few_shot")


def vectors_of(path):
    """Embeddings (N, D) of a file that `cxrvl encode` wrote."""
    return np.stack(pq.read_table(path)["embedding"].to_numpy(zero_copy_only=False))

"""Where in an image does a word of its report lie near? Similarity of words to places."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrvl.evaluation.dual.encoder import Passage
from cxrvl.evaluation.predictions import to_numpy

if TYPE_CHECKING:
    from torch import Tensor


def word_maps(task: Any, images: "Tensor", passages: Sequence[Sequence[Passage]]) -> list[NDArray[np.float32]]:
    """Return how near each place of an image lies to some words, read in their text.

    A word is embedded as a report is, but pooled over its own tokens alone; what stands around it is attended to.

    Args:
        task: a `DualEncoder` whose `predict_step` embeds texts; in evaluation mode, on its device.
        images: (B, 1, H, W) in [0, 1], on the same device.
        passages: for each image the words: texts, of which [start, end) are the words meant.

    Returns:
        Per image (words, h, w) float32: the share of each place in the softmax of the model's own logits over all
        places, which sums to 1 per word.

    Raises:
        ConfigError: the image tower keeps no places.
    """
    import torch  # not above: a config is checked without it

    maps: list[NDArray[np.float32]] = []
    with torch.no_grad():
        places = to_numpy(task.encode_patches(images))
        for place, words in zip(places, passages, strict=True):
            height, across, width = place.shape
            if not words:
                maps.append(np.empty((0, height, across), dtype=np.float32))
                continue
            bodies = torch.tensor([(word.start, word.end) for word in words], dtype=torch.int64)
            batch = {"text": [word.text for word in words], "body": bodies}
            vectors = to_numpy(task.predict_step(batch, 0).embedding)
            logits = task.similarity_scale * (vectors @ place.reshape(-1, width).T)
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            maps.append((shares / shares.sum(axis=1, keepdims=True)).reshape(-1, height, across).astype(np.float32))
    return maps

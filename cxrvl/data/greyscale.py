"""Is this colour image a grey one in disguise? Equal channels become one; real colour and transparency are refused."""

import numpy as np

from cxrvl.errors import ImageError

# Grey levels of 255 that conversion from YCbCr and back may cost; more than that is colour.
TOLERANCE = 2


def drop_opaque_alpha(pixels: np.ndarray, full: int) -> np.ndarray:
    """Remove the last channel of (H, W, 2 or 4) integers if it is `full` everywhere; ImageError if not.

    What lies under transparent pixels is undefined, so nothing is blended.
    """
    transparent = np.count_nonzero(pixels[..., -1] != full)
    if transparent:
        raise ImageError(
            f"{transparent} of its {pixels[..., -1].size} pixels are transparent; a radiograph is opaque. "
            "Flatten it against black"
        )
    return pixels[..., :-1]


def equal_channels(pixels: np.ndarray, full: int) -> np.ndarray:
    """Turn (H, W, C) unsigned integers with (nearly) equal channels into (H, W).

    full: the value of white. Channels may differ by `TOLERANCE`/255 of it; their mean is returned as float32 where they
    differ at all, the first channel where they are equal. Raises ImageError for real colour.
    """
    spread = pixels.max(axis=-1) - pixels.min(axis=-1)
    widest = int(spread.max(initial=0))
    if widest == 0:
        return pixels[..., 0]
    if widest * 255 > TOLERANCE * full:
        share = np.count_nonzero(spread.astype(np.int64) * 255 > TOLERANCE * full) / spread.size
        raise ImageError(
            f"its colour channels differ by up to {widest} of {full}, in {share:.2%} of the pixels: real colour, "
            "where a grey radiograph was expected. Convert it to grey if the colour means nothing"
        )
    return pixels.mean(axis=-1, dtype=np.float32)

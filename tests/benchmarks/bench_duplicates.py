"""How long do 100,000 hashed images take to be compared, and how many made copies of real ones are found?"""

import time

import numpy as np
from copies import CHANGES, all_at_once

from cxrvl.data.aspects import WHOLE, Aspects, Squares, aspects, reader
from cxrvl.data.duplicates import candidates, confirm, duplicates
from cxrvl.data.images import StoreSpec
from cxrvl.data.perceptual import BITS, reference
from cxrvl.data.readers import read_image
from cxrvl.data.store_pixels import to_pixels

IMAGES, LIMIT = 100_000, 60.0
COPIES = 500
NOISE = 0.62
LEAST_CANDIDATES = 200_000
SAMPLE, SIZE = 1200, 128
MADE = 300


def crowd(real: Aspects, count: int) -> Aspects:
    """Aspects of `count` images that are as often alike as real ones: a real image each, and noise of their covariance.

    On nih14 1 pair in 20,000 has vectors alike enough to be looked at, and a quarter of these pass the coarse look. The
    last `COPIES` images are slightly noisy copies of the first.
    """
    rng = np.random.default_rng(0)
    mean, covariance = real.vector.mean(axis=0), np.cov(real.vector.T)
    like = rng.integers(0, len(real), count)
    vector = rng.multivariate_normal(0 * mean, covariance, count, method="cholesky").astype(np.float32)
    vector = NOISE * vector + np.sqrt(1 - NOISE**2) * real.vector[like]
    vector[-COPIES:] = vector[:COPIES] + rng.normal(0, 0.02, (COPIES, len(mean)))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    packed = np.packbits(vector[:, :BITS] > 0, axis=1)
    shift = rng.integers(-1, 2, (count, 2))
    coarse, fine = real.coarse[like], real.fine[like]
    for thumbs, strength in ((coarse, 24), (fine, 40)):
        for dy, dx in {tuple(s) for s in shift.tolist()}:
            rows = np.flatnonzero((shift == (dy, dx)).all(axis=1))
            thumbs[rows] = np.roll(thumbs[rows], (dy, dx), axis=(1, 2))
        for part in np.array_split(np.arange(count - COPIES), 50):
            noise = rng.integers(-strength, strength + 1, (len(part), *thumbs.shape[1:]), dtype=np.int8)
            thumbs[part] = np.clip(thumbs[part].astype(np.int16) + noise, -127, 127).astype(np.int8)
        thumbs[-COPIES:] = thumbs[:COPIES]
    box = np.tile(WHOLE, (count, 1))
    kind = np.zeros(count, dtype=np.int8)
    inverted = np.zeros(count, dtype=bool)
    return Aspects(np.arange(count), kind, box, box, packed.view(np.uint64).ravel(), vector, inverted, coarse, fine)


def test_a_hundred_thousand_images(shared):
    assert len(reference().mean) >= BITS
    files = sorted((shared / "data/nih14/images").iterdir())[:SAMPLE]
    pixels = np.stack([to_pixels(read_image(file), StoreSpec(SIZE)) for file in files])
    read, count = reader([Squares(pixels, np.arange(len(pixels)), np.tile(WHOLE, (len(pixels), 1)))])
    begun = time.perf_counter()
    real = aspects(read, count)
    hashed = (time.perf_counter() - begun) / count * 1e3
    found = crowd(real, IMAGES)
    begun = time.perf_counter()
    first, second, mirrored = candidates(found)
    searched = time.perf_counter() - begun
    pairs = confirm(read, found, first, second, mirrored)
    taken = time.perf_counter() - begun
    print(
        f"{IMAGES:,} images: {taken:.1f} s (search {searched:.1f} s, {len(first):,} candidates; {len(pairs):,} pairs); "
        f"hashing {hashed:.1f} ms an image of {SIZE} px"
    )
    copies = {(i, IMAGES - COPIES + i) for i in range(COPIES)}
    assert copies <= set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(first) >= LEAST_CANDIDATES, "fewer likely pairs than among real radiographs: the measurement is too kind"
    assert taken <= LIMIT


def test_made_copies_of_real_images(shared):
    files = sorted((shared / "data/nih14/images").iterdir())
    pixels = np.stack([to_pixels(read_image(file), StoreSpec(224)) for file in files])
    picked = np.random.default_rng(1).choice(len(pixels), MADE, replace=False)
    original = np.concatenate([np.arange(len(pixels)), picked])

    def squares(pictures):
        return Squares(pictures, np.arange(len(pictures)), np.tile(WHOLE, (len(pictures), 1)))

    for name, change in {**CHANGES, "all at once": all_at_once}.items():
        copies = np.stack([change(pixels[i]) for i in picked])
        found = duplicates(*reader([squares(pixels), squares(copies)]))
        first, second = original[found.first], original[found.second]
        right = int((first == second).sum())
        # One pair of the sample itself is the same picture, to the pixel.
        others = {(a, b) for a, b in zip(first, second, strict=True) if a != b and (pixels[a] != pixels[b]).any()}
        print(f"{name}: recall {right / MADE:.3f}, precision {right / (right + len(others)):.3f}")
        assert not others
        assert right >= (0.8 if name == "all at once" else 0.96) * MADE

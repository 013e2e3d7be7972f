"""Are all images of one part found that are in another, whatever else is like them?"""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.same_pixels import same_pixels


def store_of(pixels):
    return SimpleNamespace(pixels=pixels, take=lambda rows: pixels[rows])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(0, 12), others=st.integers(0, 12))
def test_every_two_that_are_alike_are_found(seed, count, others):
    """Few kinds of images, some the same in their middle alone."""
    numbers = np.random.default_rng(seed)
    kinds = numbers.integers(0, 256, (4, 8, 8), dtype=np.uint8)
    kinds[1:3, 2:6] = kinds[0, 2:6]
    what = numbers.integers(0, len(kinds), count + others)
    one, other = np.arange(count), np.arange(count, count + others)
    wanted = [(i, j) for i in one for j in range(others) if what[i] == what[other[j]]]
    assert same_pixels(store_of(kinds[what]), one, other) == wanted

"""Is the stored square the right part of the image, resampled without aliasing and rounded exactly?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.images import StoreSpec, field_of_view, to_pixels
from cxrvl.errors import ConfigError, DataError

POLICIES = ["squash", "pad", "crop"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("bits", [8, 16])
def test_right_size_is_only_rounded(policy, bits):
    full = 2**bits - 1
    levels = np.random.default_rng(0).integers(0, full + 1, (16, 16))
    pixels = to_pixels((levels / full).astype(np.float32), StoreSpec(16, policy, bits))
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(pixels, levels)


def test_rounding_is_half_to_even_and_clipped():
    image = np.array([[0.5, 1.5], [2.5, 255.0]]) / 255
    np.testing.assert_array_equal(to_pixels(image, StoreSpec(2)), [[0, 2], [2, 255]])


def test_resampling_agrees_with_torchvision():
    torchvision = pytest.importorskip("torchvision")
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).random((97, 61), dtype=np.float32)
    resized = torchvision.transforms.functional.resize(torch.from_numpy(image)[None], [24, 24], antialias=True)
    assert np.abs(to_pixels(image, StoreSpec(24, bits=16)) / 65535 - resized[0].numpy()).max() < 1e-4


@settings(max_examples=150, deadline=None)
@given(width=st.integers(8, 200), height=st.integers(8, 200), size=st.integers(8, 64), policy=st.sampled_from(POLICIES))
def test_field_of_view_tells_where_things_are(width, height, size, policy):
    """Paint x and y as ramps: a stored pixel's value must be its place by the field of view."""
    spec = StoreSpec(size, policy, 16)
    x0, y0, x1, y1 = field_of_view(width, height, spec)
    for axis, (low, high) in enumerate(((x0, x1), (y0, y1))):
        length = (width, height)[axis]
        ramp = ((np.arange(length) + 0.5) / length).astype(np.float32)
        image = np.broadcast_to(ramp if axis == 0 else ramp[:, None], (height, width))
        stored = to_pixels(image, spec) / 65535
        # With "pad" the image may be one pixel wide: cross it where it is.
        across = int((0.5 - (y0, x0)[axis]) / ((y1 - y0), (x1 - x0))[axis] * size)
        line = stored[across] if axis == 0 else stored[:, across]
        places = low + (np.arange(size) + 0.5) / size * (high - low)
        # Away from the border a ramp stays itself, but for a small part of a native pixel.
        reach = 1.0 / length + (high - low) / size
        inner = (places > reach) & (places < 1 - reach)
        np.testing.assert_allclose(line[inner], places[inner], atol=0.15 / length + 1e-4)
        outside = (places < -reach) | (places > 1 + reach)
        assert not line[outside].any()


def test_field_of_view_by_hand():
    assert field_of_view(200, 100, StoreSpec(50, "squash")) == (0, 0, 1, 1)
    assert field_of_view(200, 100, StoreSpec(50, "crop")) == (0.25, 0, 0.75, 1)
    assert field_of_view(200, 100, StoreSpec(50, "pad")) == pytest.approx((0, -12 / 25, 1, 38 / 25))


@pytest.mark.parametrize(
    "image",
    [np.full((4, 4), np.nan), np.full((4, 4), 1.2), np.full((4, 4), -0.1), np.zeros((4, 4, 3)), np.zeros((0, 4))],
)
def test_other_values_and_shapes_are_refused(image):
    with pytest.raises(DataError):
        to_pixels(image, StoreSpec(8))


@pytest.mark.parametrize(
    ("size", "policy", "bits"), [(0, "pad", 8), (10**6, "pad", 8), (8, "stretch", 8), (8, "pad", 12)]
)
def test_impossible_specs_are_refused(size, policy, bits):
    with pytest.raises(ConfigError):
        StoreSpec(size, policy, bits)

"""Does the display pipeline agree, pixel by pixel, with the sentences of the standard written out slowly?"""

import math

import numpy as np
import pytest
from dicom_files import lut_item, write_dicom
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cxrvl.data.read_options import ReadOptions, used_bits
from cxrvl.data.readers import read_image
from cxrvl.errors import ImageError


def slow_window(x, center, width, function):
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT) with y from 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(-4 * (x - center) / width))
    if function == "LINEAR_EXACT":
        if x <= center - width / 2:
            return 0.0
        return 1.0 if x > center + width / 2 else (x - center) / width + 0.5
    if x <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if x > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (center - 0.5)) / (width - 1) + 0.5


def slow_lut(x, first, entries):
    """PS3.3 C.11.1.1.1: below the first mapped value the first entry, above the last mapped value the last."""
    x = round(x)
    if x < first:
        return int(entries[0])
    return int(entries[-1]) if x >= first + len(entries) else int(entries[x - first])


def slow_display(
    pixels, bits, signed, *, mono1=False, slope=1.0, intercept=0.0, window=None, mlut=None, vlut=None, pad=None
):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    out = np.zeros(pixels.shape)
    for at, stored in np.ndenumerate(pixels):
        stored = int(stored)
        if pad is not None and min(pad) <= stored <= max(pad):
            continue
        if mlut is not None:
            x = slow_lut(stored, mlut[0], mlut[2])
            ends = (0, 2 ** mlut[1] - 1)
        else:
            x = stored * slope + intercept
            ends = sorted((low * slope + intercept, high * slope + intercept))
        if vlut is not None:
            y = slow_lut(x, vlut[0], vlut[2]) / (2 ** vlut[1] - 1)
        elif window is not None:
            y = slow_window(x, *window)
        else:
            y = (x - ends[0]) / (ends[1] - ends[0])
        out[at] = 1 - y if mono1 else y
    return out


def some_pixels(bits, signed, seed=0, shape=(9, 13)):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    pixels = np.random.default_rng(seed).integers(low, high + 1, shape)
    pixels.flat[:2] = low, high
    return pixels


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.integers(8, 16),
    signed=st.booleans(),
    mono1=st.booleans(),
    function=st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    rescale=st.sampled_from([(1, 0), (1, -1024), (2.5, 10), (-1, 4095), (0.5, -3.25)]),
    place=st.floats(0.2, 0.8),
    part=st.floats(0.05, 1.5),
    pad=st.sampled_from([None, (0,), (5, 90), (90, 5), (-40, 3)]),
    seed=st.integers(0, 99),
)
def test_windows_agree_with_the_standard(tmp_path, bits, signed, mono1, function, rescale, place, part, pad, seed):
    pixels = some_pixels(bits, signed, seed)
    if not signed and pad is not None and min(pad) < 0:
        pad = (7,)
    extra = {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    window = None
    if function:
        shown = np.sort(pixels.ravel() * rescale[0] + rescale[1])
        center = float(f"{shown[int(place * (len(shown) - 1))]:.6g}")
        width = float(f"{max(part * np.ptp(shown), 2):.6g}")
        window = (center, width, function)
        # The second window is an alternative view and must not count.
        extra |= {"WindowCenter": [center, 1], "WindowWidth": [width, 2], "VOILUTFunction": function}
    if pad:
        vr = "SS" if signed else "US"
        extra["PixelPaddingValue"] = (vr, pad[0])
        if len(pad) == 2:
            extra["PixelPaddingRangeLimit"] = (vr, pad[1])
    path = write_dicom(
        tmp_path / "a.dcm", pixels, bits=bits, signed=signed, photometric=f"MONOCHROME{1 if mono1 else 2}", **extra
    )
    expected = slow_display(
        pixels, bits, signed, mono1=mono1, slope=rescale[0], intercept=rescale[1], window=window, pad=pad
    )
    got = read_image(path)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_read_the_same(tmp_path, syntax):
    pixels = some_pixels(12, True)
    extra = {"signed": True, "WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": 5}
    plain = read_image(write_dicom(tmp_path / "a.dcm", pixels, **extra))
    np.testing.assert_array_equal(read_image(write_dicom(tmp_path / "b.dcm", pixels, syntax=syntax, **extra)), plain)


@pytest.mark.parametrize(("signed", "first"), [(False, 0), (False, 300), (True, -2048), (True, -100), (True, 50)])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_modality_lut(tmp_path, signed, first, bits):
    pixels = some_pixels(12, signed)
    entries = np.random.default_rng(1).integers(0, 2**bits, 1000)
    item = lut_item(first, bits, entries, signed=signed, packed=bits == 8)
    got = read_image(write_dicom(tmp_path / "a.dcm", pixels, signed=signed, modality_lut=item))
    np.testing.assert_allclose(got, slow_display(pixels, 12, signed, mlut=(first, bits, entries)), atol=1e-6)


@pytest.mark.parametrize(("bits", "packed"), [(8, True), (8, False), (10, False), (12, False), (16, False)])
@pytest.mark.parametrize("count", [255, 4096, 65536])
def test_voi_lut_wins_over_window(tmp_path, bits, packed, count):
    pixels = some_pixels(8, False)
    entries = np.arange(count) * 7 % 2**bits
    item = lut_item(20, bits, entries, packed=packed)
    extra = {"WindowCenter": 3, "WindowWidth": 2}
    got = read_image(write_dicom(tmp_path / "a.dcm", pixels, bits=8, voi_lut=item, photometric="MONOCHROME1", **extra))
    np.testing.assert_allclose(got, slow_display(pixels, 8, False, mono1=True, vlut=(20, bits, entries)), atol=1e-6)


def test_first_value_of_a_voi_lut_is_signed_if_rescaled_values_are(tmp_path):
    pixels = some_pixels(12, False)
    entries = np.arange(2000)
    # -1024 written as US, since pixels are unsigned; the rescale makes it signed (PS3.3 C.11.2.1.1).
    item = lut_item(65536 - 1024, 11, entries)
    extra = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    got = read_image(write_dicom(tmp_path / "a.dcm", pixels, voi_lut=item, **extra))
    expected = slow_display(pixels, 12, False, intercept=-1024, vlut=(-1024, 11, entries))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_voi_lut_after_modality_lut(tmp_path):
    pixels = some_pixels(12, True)
    first, second = np.random.default_rng(2).integers(0, 1024, 4096), np.random.default_rng(3).integers(0, 4096, 900)
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        signed=True,
        modality_lut=lut_item(-2048, 10, first, signed=True),
        voi_lut=lut_item(60, 12, second),
    )
    expected = slow_display(pixels, 12, True, mlut=(-2048, 10, first), vlut=(60, 12, second))
    np.testing.assert_allclose(read_image(path), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_inverted_exactly_once(tmp_path, photometric, shape, inverted):
    pixels = some_pixels(8, False)
    extra = {"PresentationLUTShape": shape} if shape else {}
    got = read_image(write_dicom(tmp_path / "a.dcm", pixels, bits=8, photometric=photometric, **extra))
    np.testing.assert_allclose(got, slow_display(pixels, 8, False, mono1=inverted), atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("value", [0, 1, 4095])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 9000, "WindowWidth": 10}])
@pytest.mark.parametrize("intensity", ["type", "used"])
def test_constant_images_are_legal(tmp_path, photometric, value, window, intensity):
    path = write_dicom(tmp_path / "a.dcm", np.full((4, 5), value), photometric=photometric, **window)
    image = read_image(path, ReadOptions(intensity=intensity))
    assert np.isfinite(image).all()
    assert image.min() == image.max()


def test_image_of_padding_only_is_background(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.full((4, 5), 7), photometric="MONOCHROME1", PixelPaddingValue=("US", 7))
    assert not read_image(path, ReadOptions(intensity="used")).any()


def test_padding_does_not_count_for_the_used_range(tmp_path):
    pixels = np.array([[4000, 100, 200], [300, 4000, 511]])
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=("US", 4000))
    got = read_image(path, ReadOptions(intensity="used"))
    np.testing.assert_allclose(got, np.where(pixels == 4000, 0, pixels / 511), atol=1e-6)


def test_bits_above_and_below_the_stored_ones_are_ignored(tmp_path):
    pixels = some_pixels(10, False)
    plain = read_image(write_dicom(tmp_path / "a.dcm", pixels, bits=10))
    noise = np.random.default_rng(5).integers(0, 64, pixels.shape)
    above = read_image(write_dicom(tmp_path / "b.dcm", pixels | noise << 10, bits=10))
    below = read_image(write_dicom(tmp_path / "c.dcm", pixels << 6 | noise, bits=10, HighBit=15))
    np.testing.assert_array_equal(above, plain)
    np.testing.assert_array_equal(below, plain)


def test_window_that_shows_nothing_is_refused_and_can_be_ignored(tmp_path):
    pixels = some_pixels(8, False)
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=8, WindowCenter=3000, WindowWidth=100)
    with pytest.raises(ImageError, match=r"a\.dcm.*shows nothing of its values \(0 to 255\).*window=ignore"):
        read_image(path)
    np.testing.assert_allclose(read_image(path, ReadOptions(window="ignore")), pixels / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "Window Width is 0"),
        ({"WindowCenter": 5, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"}, "Window Width is 0"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "'CUBIC' is unknown"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "Slope is 0"),
        ({"voi_lut": lut_item(0, 12, np.arange(9), count=5000)}, "announces 5000 entries"),
        ({"modality_lut": lut_item(0, 33, np.arange(9))}, "33 bits per entry"),
    ],
)
def test_contradictions_are_named(tmp_path, extra, message):
    path = write_dicom(tmp_path / "a.dcm", some_pixels(12, False), **extra)
    with pytest.raises(ImageError, match=message):
        read_image(path)


def test_empty_window_means_no_window(tmp_path):
    pixels = some_pixels(12, False)
    path = write_dicom(tmp_path / "a.dcm", pixels, WindowCenter=None, WindowWidth=None, RescaleSlope=None)
    np.testing.assert_allclose(read_image(path), pixels / 4095, atol=1e-6)


@given(low=st.integers(-32768, 65535), span=st.integers(0, 65535))
def test_used_bits_are_the_fewest(low, span):
    high = low + span
    bits = used_bits(low, high)

    def holds(n):
        return high < 2**n if low >= 0 else -(2 ** (n - 1)) <= low and high < 2 ** (n - 1)

    assert holds(bits)
    assert bits == 1 or not holds(bits - 1)

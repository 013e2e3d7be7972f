"""Which grey does a stored DICOM value show as? Modality LUT, VOI LUT or window, padding, inversion: in that order.

pydicom's `apply_modality_lut` and `apply_voi_lut` are not used: they compute LUT indices in the pixels' own type (a
table of 4096 entries on 8-bit data overflows), read 8-bit tables packed two to a word as 16-bit ones, take the sign of
the first mapped value from the wrong attribute after a rescale, and know no padding. All maths here is float64.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from cxrvl.data.read_options import ReadOptions, unit_range, used_bits
from cxrvl.errors import ImageError


@dataclass(frozen=True)
class LookupTable:
    """A modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1): input `first + i` becomes `entries[i]` in 0..2**bits - 1."""

    first: int
    bits: int
    entries: np.ndarray

    @classmethod
    def parse(cls, item: Dataset, *, signed: bool, little_endian: bool, name: str) -> "LookupTable":
        """Read one item of a LUT sequence.

        signed: whether the values looked up may be negative, which decides the sign of the first mapped value.
        name: for messages. Raises ImageError if descriptor or data are missing or contradict each other.
        """
        descriptor = item.get("LUTDescriptor")
        data = item.get("LUTData")
        if descriptor is None or len(descriptor) != 3 or data is None:
            raise ImageError(f"its {name} has no LUT Descriptor of three values, or no LUT Data")
        # The three values share one VR, so counts and first values may arrive with the wrong sign.
        count = (int(descriptor[0]) & 0xFFFF) or 0x10000
        first = int(descriptor[1]) & 0xFFFF
        if signed and first > 0x7FFF:
            first -= 0x10000
        bits = int(descriptor[2])
        if not 1 <= bits <= 16:
            raise ImageError(f"its {name} has {bits} bits per entry; 1 to 16 are allowed")
        entries = _entries(data, count, bits, little_endian)
        if entries is None:
            raise ImageError(f"its {name} announces {count} entries of {bits} bits but does not hold them")
        # Some writers understate the bits; entries above them would all be white.
        return cls(first, max(bits, used_bits(0, int(entries.max()))), entries)

    @property
    def full(self) -> int:
        """The entry that means white."""
        return 2**self.bits - 1

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Look up values (float64, rounded to integers); outside the table its first or last entry holds."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return self.entries[index].astype(np.float64)


def _entries(data: Any, count: int, bits: int, little_endian: bool) -> np.ndarray | None:
    """LUT Data as `count` unsigned integers, or None if it is too short.

    Entries of up to 8 bits are packed two to a 16-bit word or lie in a word each; the length tells (PS3.3 C.11.1.1.1).
    """
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if little_endian else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(words) >= count:
        return words[:count].astype(np.uint16)
    if bits <= 8 and 2 * len(words) >= count:
        return words.astype("<u2").view(np.uint8)[:count].astype(np.uint16)
    return None


def first_number(dataset: Dataset, keyword: str) -> float | None:
    """First value of a numeric attribute, None where it is absent or empty; ImageError where it is no finite number."""
    value = dataset.get(keyword)
    if isinstance(value, list) or (hasattr(value, "__len__") and not isinstance(value, str)):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as fault:
        raise ImageError(f"its attribute {keyword} is not a number") from fault
    if not np.isfinite(number):
        raise ImageError(f"its attribute {keyword} is {number}")
    return number


def windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Apply a window to modality values; float64 in [0, 1] (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2).

    function: LINEAR (width >= 1), LINEAR_EXACT or SIGMOID (width > 0). Raises ImageError for others.
    """
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ImageError(f"its VOI LUT Function {function!r} is unknown; LINEAR, LINEAR_EXACT or SIGMOID were expected")
    if width < 1 if function == "LINEAR" else width <= 0:
        limit = "at least 1" if function == "LINEAR" else "above 0"
        raise ImageError(f"its Window Width is {width:g}; {function} needs {limit}. Read it with window=ignore")
    if function == "SIGMOID":
        # exp() of more than 700 overflows; the curve is flat long before.
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def padding(dataset: Dataset, values: np.ndarray, bits_allocated: int, signed: bool) -> np.ndarray:
    """Which stored values are padding: from Pixel Padding Value to Range Limit, both included (PS3.3 C.7.5.1.1.2)."""
    value = first_number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(values.shape, dtype=bool)
    limit = first_number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted(
        _resigned(int(edge), bits_allocated, signed) for edge in (value, value if limit is None else limit)
    )
    return (values >= low) & (values <= high)


def _resigned(value: int, bits: int, signed: bool) -> int:
    """Undo a US read as SS or the reverse."""
    if signed and value >= 2 ** (bits - 1):
        return value - 2**bits
    return value + 2**bits if not signed and value < 0 else value


def display(dataset: Dataset, pixels: np.ndarray, options: ReadOptions, *, little_endian: bool) -> np.ndarray:
    """Turn stored values of a monochrome image into grey.

    pixels: (H, W) integers of at most 16 bits, sign and unused bits already resolved.
    Returns (H, W) float32 in [0, 1], 1 = white on a light box viewed as bone-white; padding is 0. Raises ImageError for
    contradictory attributes, and for a window that shows none of the image's values.
    """
    # Everything below acts on single values, so it acts on each value that occurs once, not on each pixel.
    low, high = int(pixels.min()), int(pixels.max())
    occurs = np.bincount((pixels.astype(np.int32) - low).ravel(), minlength=high - low + 1) > 0
    stored = np.arange(low, high + 1, dtype=np.float64)
    signed = dataset.PixelRepresentation == 1
    padded = padding(dataset, stored, dataset.BitsAllocated, signed)
    shown = occurs & ~padded

    values, ends, negative = _modality(dataset, stored, shown, options, signed, little_endian)
    grey = _voi(dataset, values, negative, options, little_endian)
    if grey is None:
        grey = unit_range(values, *ends).astype(np.float64)
    elif shown.sum() > 1 and np.ptp(values[shown]) > 0 and np.ptp(grey[shown]) == 0:
        span = f"{values[shown].min():g} to {values[shown].max():g}"
        raise ImageError(f"its window or VOI LUT shows nothing of its values ({span}); read it with window=ignore")
    if is_inverted(dataset):
        grey = 1.0 - grey
    grey[padded] = 0.0
    return np.take(grey.astype(np.float32), pixels.astype(np.int32) - low)


def is_inverted(dataset: Dataset) -> bool:
    """Whether low values are white: MONOCHROME1 or Presentation LUT Shape INVERSE; both together mean it once."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return dataset.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE"


def _modality(
    dataset: Dataset,
    stored: np.ndarray,
    shown: np.ndarray,
    options: ReadOptions,
    signed: bool,
    little_endian: bool,
) -> tuple[np.ndarray, tuple[float, float], bool]:
    """Modality values (float64) of stored ones, the ends of their range under `options.intensity`, may they be < 0?"""
    used = options.intensity == "used" and bool(shown.any())
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        table = LookupTable.parse(sequence[0], signed=signed, little_endian=little_endian, name="Modality LUT")
        values = table(stored)
        return values, (0.0, 2.0 ** used_bits(0, int(values[shown].max())) - 1 if used else table.full), False
    slope, intercept = first_number(dataset, "RescaleSlope"), first_number(dataset, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise ImageError("its Rescale Slope is 0, which would make every pixel the same")

    def rescaled(bits: int) -> tuple[float, float]:
        ends = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
        low, high = sorted(end * slope + intercept for end in ends)
        return low, high

    declared = rescaled(int(dataset.BitsStored))
    ends = declared
    if used:
        low, high = int(stored[shown].min()), int(stored[shown].max())
        # Signed values that happen to be positive still need their sign bit.
        ends = rescaled(used_bits(min(low, -high - 1), high) if signed else used_bits(low, high))
    return stored * slope + intercept, ends, declared[0] < 0


def _voi(
    dataset: Dataset, values: np.ndarray, signed: bool, options: ReadOptions, little_endian: bool
) -> np.ndarray | None:
    """Grey in [0, 1] by the first VOI LUT, else by the first window; None where there is neither."""
    if options.window == "ignore":
        return None
    sequence = dataset.get("VOILUTSequence")
    if sequence:
        table = LookupTable.parse(sequence[0], signed=signed, little_endian=little_endian, name="VOI LUT")
        return table(values) / table.full
    center, width = first_number(dataset, "WindowCenter"), first_number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    return windowed(values, center, width, function)

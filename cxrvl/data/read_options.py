"""What may a caller choose when an image file is read? Intensity range and size limits, in one picklable object."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cxrvl.errors import ConfigError, ImageError

Intensity = Literal["auto", "type", "used"]
Window = Literal["file", "ignore"]

# Raise by hand whenever a reader returns other pixels for the same file: it enters the identity of every store.
READER_VERSION = 1


@dataclass(frozen=True)
class ReadOptions:
    """How image files become numbers in [0, 1].

    intensity: which integer range becomes [0, 1] where the file has no window or VOI LUT:
        "type"  the declared one: 8 or 16 bits of a PNG, 2 to 16 of a JPEG, BitsStored of a DICOM file. Images stay
                comparable.
        "used"  that of the fewest bits that hold the image's values, padding left out (12-bit values in a 16-bit PNG:
                0 to 4095). Zero stays zero, and no single bright pixel decides more than a factor of two.
        "auto"  "used" for 16-bit PNG and JPEG, which seldom mean all of their bits (PadChest), "type" else
                (DICOM: without a VOI LUT the identity holds, PS3.4 N.2.1).
    window: "file" applies the window or VOI LUT of a DICOM file; "ignore" reads it as if it had none, for data sets
        whose windows are wrong.
    max_pixels, max_side: larger images are refused from their header, before memory is asked for.
    """

    intensity: Intensity = "auto"
    window: Window = "file"
    max_pixels: int = 100_000_000
    max_side: int = 20_000

    def __post_init__(self) -> None:
        for name, kind in (("intensity", Intensity), ("window", Window)):
            value = getattr(self, name)
            if value not in get_args(kind):
                raise ConfigError(f"{name} {value!r} is unknown; choose one of {', '.join(get_args(kind))}")

    def identity(self) -> dict[str, str | int]:
        """Everything here that determines pixels, for `Source.pixel_identity` (limits refuse, they change nothing)."""
        return {"reader": READER_VERSION, "intensity": self.intensity, "window": self.window}

    def check_size(self, width: int, height: int) -> None:
        """Raise ImageError (without the file's name) if the header promises no pixels, or more than allowed."""
        if width < 1 or height < 1:
            raise ImageError(f"its header says {width} x {height} pixels, so there is no image in it")
        if max(width, height) > self.max_side or width * height > self.max_pixels:
            raise ImageError(
                f"its header says {width} x {height} pixels; at most {self.max_side} a side and {self.max_pixels} in "
                "all are read, since larger files are broken or not radiographs. "
                "If this one is sound, save it smaller"
            )


def used_bits(low: int, high: int) -> int:
    """Fewest bits (at least 1) that hold low..high: unsigned if low >= 0, else two's complement."""
    if low >= 0:
        return max(int(high).bit_length(), 1)
    return max(max(int(high), 0).bit_length(), int(-low - 1).bit_length()) + 1


def unit_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map low..high linearly to float32 [0, 1], clipped; an empty range (low == high) gives zeros."""
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    if values.dtype in (np.uint8, np.uint16):
        # A table of all values is several times faster than arithmetic on millions of pixels.
        domain = np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64)
        return np.take(unit_range(domain, low, high), values)
    out = np.subtract(values, low, dtype=np.float64)
    out /= high - low
    return np.clip(out, 0.0, 1.0, out=out).astype(np.float32)

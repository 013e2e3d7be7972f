"""How does a JPEG file of more than 8 bits become pixels? Lossless ones as DICOM has them, through the same decoder."""

import struct
from typing import Any, NamedTuple

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGLossless

from cxrvl.data.read_options import ReadOptions
from cxrvl.errors import ImageError

LOSSLESS = 0xC3
# Start-of-frame markers; C4, C8 and CC between them mean other things.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, RST0-7, SOI.
BARE = frozenset({0x01, *range(0xD0, 0xD9)})
SCAN, END = 0xDA, 0xD9
FAULTS = (RuntimeError, ValueError, OSError, NotImplementedError, IndexError, KeyError, TypeError, struct.error)


class Frame(NamedTuple):
    """What a JPEG's frame header says. marker: its kind (0xC0 baseline, 0xC3 lossless ...); bits per sample."""

    marker: int
    bits: int
    height: int
    width: int
    components: int


def frame_of(data: bytes) -> Frame | None:
    """Return the frame header of a JPEG file (ITU T.81 B.2.2), None where it has none before its first scan."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF or marker in BARE:  # a fill byte, or a marker that is all there is
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (SCAN, END):
            return None
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker in FRAMES and place + 10 <= len(data):
            return Frame(marker, *struct.unpack_from(">BHHB", data, place + 4))
        place += 2 + length
    return None


def read_deep(data: bytes, frame: Frame, options: ReadOptions) -> np.ndarray:
    """Decode a lossless grey JPEG of 2 to 16 bits into (H, W) unsigned integers.

    Raises ImageError without the file's name: the 12 bits of extended JPEG have no decoder here, colour is refused.
    """
    if frame.marker != LOSSLESS:
        raise ImageError(
            f"a JPEG of {frame.bits} bits that is not lossless, for which there is no decoder; save it as 16-bit PNG"
        )
    if frame.components != 1:
        raise ImageError(f"a lossless JPEG with {frame.components} components, where a grey radiograph was expected")
    options.check_size(frame.width, frame.height)
    described: dict[str, Any] = {
        "rows": frame.height, "columns": frame.width, "samples_per_pixel": 1, "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2", "pixel_representation": 0, "pixel_keyword": "PixelData",
        "bits_allocated": 16 if frame.bits > 8 else 8, "bits_stored": frame.bits,
    }  # fmt: skip
    try:
        pixels, _ = get_decoder(JPEGLossless).as_array(encapsulate([data]), **described)
    except FAULTS as fault:
        raise ImageError(f"broken or truncated JPEG ({' '.join(str(fault).split())[:300]})") from fault
    return pixels

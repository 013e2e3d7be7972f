"""How does an image file become a grey image? By its content, whatever its name: PNG, JPEG or DICOM."""

import os
from pathlib import Path

import numpy as np

from cxrvl.data.dicom import looks_like_dicom, read_dicom
from cxrvl.data.raster import JPEG_MAGIC, PNG_MAGIC, read_jpeg, read_png
from cxrvl.data.read_options import ReadOptions
from cxrvl.errors import ImageError

HEAD_BYTES = 256
DEFAULTS = ReadOptions()

# Formats people do have radiographs in, named so that the message can say what was found.
OTHERS = {
    b"II*\x00": "a TIFF file",
    b"MM\x00*": "a TIFF file",
    b"BM": "a BMP file",
    b"GIF8": "a GIF file",
    b"RIFF": "a WebP or other RIFF file",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 file outside DICOM",
    b"\xff\x4f\xff\x51": "a JPEG 2000 codestream outside DICOM",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF file",
    b"\x93NUMPY": "a NumPy array",
}


def read_image(path: str | os.PathLike[str], options: ReadOptions = DEFAULTS) -> np.ndarray:
    """Read one radiograph from a PNG, JPEG or DICOM file.

    Returns (H, W) float32 in [0, 1], C-contiguous, air and lungs dark; constant images are legal. The format is told
    by the content, not by the suffix. Raises ImageError naming the file and the reason if there is no such file, it is
    empty, of another format, broken, truncated, larger than `options` allow, in real colour, or has several frames.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            if head.startswith((PNG_MAGIC, JPEG_MAGIC)):
                data = head + stream.read()
    except OSError as fault:
        raise ImageError(f"{file}: cannot be opened ({fault.strerror})") from fault
    try:
        if head.startswith(PNG_MAGIC):
            image = read_png(data, options)
        elif head.startswith(JPEG_MAGIC):
            image = read_jpeg(data, options)
        elif looks_like_dicom(head):
            image = read_dicom(file, options)
        else:
            raise ImageError(f"{_what(head)}, where a PNG, JPEG or DICOM file was expected")
    except ImageError as fault:
        raise ImageError(f"{file}: {fault}") from fault
    return np.ascontiguousarray(image)


def _what(head: bytes) -> str:
    if not head:
        return "an empty file (0 bytes)"
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            return name
    # The bytes themselves are not shown: they may be a name or a report.
    printable = all(32 <= byte < 127 or byte in (9, 10, 13) for byte in head)
    return "a text file" if printable else "a file of unknown format"

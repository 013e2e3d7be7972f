"""How do PNG and JPEG files become grey images in [0, 1]? Through Pillow, never from truncated or colour data."""

import io
import struct
import zlib

import numpy as np
from PIL import ImageOps
from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from cxrvl.data.deep_jpeg import LOSSLESS, frame_of, read_deep
from cxrvl.data.greyscale import drop_opaque_alpha, equal_channels
from cxrvl.data.read_options import ReadOptions, unit_range, used_bits
from cxrvl.errors import ImageError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
EXIF_ORIENTATION = 0x0112
GREY_ALPHA = 4

# What Pillow raises on broken files; nothing else is expected from it.
FAULTS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError)


def read_png(data: bytes, options: ReadOptions) -> np.ndarray:
    """Decode the bytes of a PNG file into (H, W) float32 in [0, 1].

    1 to 16 bits, palettes, and RGB(A) of 8 or 16 bits with equal channels and opaque alpha; an eXIf orientation is
    applied. Every chunk's checksum is verified. Raises ImageError without the file's name.
    """
    try:
        PngImageFile(io.BytesIO(data)).verify()
        image = PngImageFile(io.BytesIO(data))
    except FAULTS as fault:
        raise ImageError(f"broken or truncated PNG ({fault})") from fault
    options.check_size(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError("an animated PNG with several frames; one radiograph per file is read")
    depth, colour_type = data[24], data[25]
    if depth == 16 and colour_type == GREY_ALPHA:
        raise ImageError("a 16-bit PNG with grey and alpha, which Pillow reads at 8 bits only; save it without alpha")
    try:
        deep_colour = depth == 16 and len(image.getbands()) > 1
        pixels = _deep_colour(data, image) if deep_colour else _pixels(image)
    except FAULTS as fault:
        raise ImageError(f"broken or truncated PNG ({fault})") from fault
    return _to_unit(pixels, 16 if depth == 16 else 8, options)


def read_jpeg(data: bytes, options: ReadOptions) -> np.ndarray:
    """Decode the bytes of a JPEG file, of 8 bits or lossless of up to 16, into (H, W) float32 in [0, 1].

    The EXIF orientation is applied, as every viewer does: images, and boxes drawn on them, are taken as displayed.
    Raises ImageError without the file's name.
    """
    # libjpeg paints what is missing grey and only warns, which Pillow does not pass on: look for the end marker.
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ImageError("truncated JPEG: no end-of-image marker after its last scan")
    frame = frame_of(data)
    if frame is not None and (frame.bits > 8 or frame.marker == LOSSLESS):
        return _to_unit(read_deep(data, frame, options), frame.bits, options)
    try:
        image = JpegImageFile(io.BytesIO(data))
    except FAULTS as fault:
        raise ImageError(f"broken or truncated JPEG ({fault})") from fault
    options.check_size(*image.size)
    try:
        pixels = _pixels(image)
    except FAULTS as fault:
        raise ImageError(f"broken or truncated JPEG ({fault})") from fault
    return _to_unit(pixels, 8, options)


def _pixels(image: Image) -> np.ndarray:
    """Load an image of any grey, palette or RGB mode into unsigned integers (H, W) or (H, W, C)."""
    image.load()
    if image.mode.startswith("I"):
        pixels = np.asarray(_upright(image)).astype(np.uint16)
        if image.info.get("transparency") is not None:
            alpha = np.where(pixels == image.info["transparency"], 0, 65535).astype(np.uint16)
            return np.stack([pixels, alpha], axis=-1)
        return pixels
    clear = "transparency" in image.info
    targets = {
        "1": "L",
        "L": "LA" if clear else "L",
        "P": "RGBA" if clear else "RGB",
        "RGB": "RGBA" if clear else "RGB",
    }
    mode = targets.get(image.mode, image.mode)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        raise ImageError(f"colour mode {image.mode}, where a grey radiograph was expected; convert it to grey")
    return np.asarray(_upright(image if mode == image.mode else image.convert(mode)))


def _deep_colour(data: bytes, image: PngImageFile) -> np.ndarray:
    """Decode an RGB(A) PNG of 16 bits into uint16 (H, W, C), where Pillow itself keeps only the high bytes.

    Read as the other byte order, the same file yields the low bytes.
    """
    low = PngImageFile(io.BytesIO(data))
    low.tile = [tile._replace(args=f"{image.mode};16L") for tile in low.tile]
    low.load()
    return _pixels(image).astype(np.uint16) << 8 | np.asarray(_upright(low))


def _upright(image: Image) -> Image:
    return ImageOps.exif_transpose(image) if image.getexif().get(EXIF_ORIENTATION, 1) != 1 else image


def _to_unit(pixels: np.ndarray, bits: int, options: ReadOptions) -> np.ndarray:
    full = 2**bits - 1
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        pixels = drop_opaque_alpha(pixels, full)
    grey = equal_channels(pixels, full) if pixels.ndim == 3 else pixels
    if options.intensity == "used" or (options.intensity == "auto" and bits == 16):
        full = 2 ** used_bits(0, int(np.ceil(grey.max(initial=0)))) - 1
    return unit_range(grey, 0, full)

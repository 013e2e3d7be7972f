"""How does a DICOM file become a grey image? Checks, decoding to stored values, and what may be told about it."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)
from pydicom.valuerep import VR

from cxrvl.data.dicom_display import display
from cxrvl.data.greyscale import equal_channels
from cxrvl.data.read_options import ReadOptions, unit_range, used_bits
from cxrvl.errors import ImageError

# Nothing else is read from a file: what names a patient never enters this process.
ATTRIBUTES = (
    "Modality",
    "ViewPosition",
    "BodyPartExamined",
    "PatientOrientation",
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PixelAspectRatio",
)
PALETTE = ("Red", "Green", "Blue")
IMAGE_TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in PALETTE),
    *(f"{colour}PaletteColorLookupTableData" for colour in PALETTE),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in PALETTE),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData", "PixelData"),
)
NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")

# What pydicom and its decoders raise on broken files; nothing else is expected from them.
FAULTS = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    struct.error,
)
CODESTREAMS = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
# A first element (a group length, character set or image type) is short; longer means this is no DICOM file.
LONGEST_FIRST = 1024
END_OF_IMAGE = b"\xff\xd9"
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first bytes (132 or more) are DICOM: by its preamble, or else by a first data element.

    Files without a preamble (old, or stripped by a network archive) must start with group 0002 or 0008.
    """
    if head[128:132] == b"DICM":
        return True
    explicit = head[4:6].decode("latin-1") in VR.__members__
    if head[:2] == b"\x00\x08":
        return explicit
    length = int.from_bytes(head[4:8], "little")
    return head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\0" and (explicit or length <= LONGEST_FIRST)


def read_dicom(path: Path, options: ReadOptions) -> np.ndarray:
    """Decode one single-frame DICOM image into (H, W) float32 in [0, 1].

    Monochrome images go through `dicom_display.display`; colour ones with equal channels become grey. Spacing that
    differs between rows and columns is left as it is. Raises ImageError without the file's name.
    """
    with warnings.catch_warnings():
        # pydicom quotes values in warnings; what matters becomes an ImageError.
        warnings.simplefilter("ignore")
        dataset = _parse(path, IMAGE_TAGS)
        _check(dataset, options)
        pixels = _stored_values(dataset)
        little_endian = dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
        try:
            if dataset.SamplesPerPixel == 1 and dataset.PhotometricInterpretation != "PALETTE COLOR":
                return display(dataset, pixels, options, little_endian=little_endian)
            return _grey_of_colour(dataset, pixels, options)
        except FAULTS as fault:
            raise ImageError(f"DICOM with contradictory attributes ({_brief(fault)})") from fault


def dicom_attributes(path: Path) -> dict[str, Any]:
    """Tell how an image was acquired, and nothing about whom it shows.

    Returns the attributes of `ATTRIBUTES` that are present, as str, int, float or lists of these, and TransferSyntax
    (its name). Spacings are millimetres (row, column). Raises ImageError if the file is not DICOM.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = _parse(Path(path), ATTRIBUTES)
            found = {name: _plain(dataset.get(name)) for name in ATTRIBUTES if dataset.get(name) not in (None, "")}
            return {**found, "TransferSyntax": UID(dataset.file_meta.TransferSyntaxUID).name}
        except FAULTS as fault:
            raise ImageError(f"{path}: {_brief(fault)}") from fault
        except ImageError as fault:
            raise ImageError(f"{path}: {fault}") from fault


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    return [_plain(item) for item in value] if hasattr(value, "__len__") else float(value)


def _parse(path: Path, keywords: tuple[str, ...]) -> Dataset:
    """Read only the attributes named; complete a missing transfer syntax from how the file was written."""
    try:
        # The caller has looked at the first bytes, so a missing preamble is no reason to refuse.
        dataset = dcmread(path, force=True, specific_tags=list(keywords))
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = FileMetaDataset()
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    except FAULTS as fault:
        raise ImageError(f"broken or truncated DICOM ({_brief(fault)})") from fault
    return dataset


def _check(dataset: Dataset, options: ReadOptions) -> None:
    """Refuse, before anything is decoded, what is no single radiograph; complete absent defaults."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError("DICOM with floating-point pixels; stored integers of 1 to 16 bits are read")
    if not dataset.get("PixelData"):
        raise ImageError("DICOM without pixel data (a report or presentation state, or cut off before its pixels)")
    missing = [name for name in NEEDED if dataset.get(name) in (None, "")]
    if missing:
        raise ImageError(f"DICOM without the attribute {', '.join(missing)}, so its pixels cannot be understood")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"DICOM with {frames} frames; one radiograph per file is read. Export the frame you mean")
    options.check_size(int(dataset.Columns), int(dataset.Rows))
    stored, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if not 1 <= stored <= allocated <= 16:
        raise ImageError(f"DICOM with {stored} of {allocated} bits; stored integers of 1 to 16 bits are read")
    photometric, samples = dataset.PhotometricInterpretation, int(dataset.SamplesPerPixel)
    known = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") if samples == 1 else COLOURS if samples == 3 else ()
    if photometric not in known:
        raise ImageError(f"DICOM with {samples} samples per pixel of {photometric}, which is no grey image")
    dataset.PixelRepresentation = int(dataset.get("PixelRepresentation") or 0)


def _stored_values(dataset: Dataset) -> np.ndarray:
    """Decode to stored values: (H, W) or (H, W, 3) integers, unused bits cleared, sign extended."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    named = f"transfer syntax {syntax.name} ({syntax})"
    try:
        get_decoder(syntax)
    except NotImplementedError as fault:
        raise ImageError(f"DICOM with {named}, which cannot be decoded; convert it to an uncompressed one") from fault
    stored = int(dataset.BitsStored)
    # Values that do not end at the lowest bit (left-aligned, or with overlays below) are decoded whole, then shifted.
    shift = 0
    if not syntax.is_encapsulated or "RLE" in syntax.name:
        shift = max(int(dataset.get("HighBit", stored - 1)) + 1 - stored, 0)
    try:
        if syntax in CODESTREAMS:
            _check_codestream(dataset, named)
        dataset.BitsStored = stored + shift
        pixels: np.ndarray = dataset.pixel_array
    except FAULTS as fault:
        raise ImageError(
            f"DICOM whose pixels cannot be decoded: {named}, {_brief(fault)}. If the file is whole, "
            "convert it to an uncompressed transfer syntax (for example with gdcmconv --raw or dcmdjpeg)"
        ) from fault
    finally:
        dataset.BitsStored = stored
    return pixels >> shift if shift else pixels


def _check_codestream(dataset: Dataset, named: str) -> None:
    """Refuse JPEG-family data without its end marker: decoders fill what is missing and say nothing."""
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if END_OF_IMAGE not in frame.rstrip(b"\0")[-16:]:
        raise ImageError(f"DICOM with truncated pixel data: {named}, no end-of-image marker")


def _grey_of_colour(dataset: Dataset, pixels: np.ndarray, options: ReadOptions) -> np.ndarray:
    bits = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)[..., :3]
        bits = 8 * pixels.dtype.itemsize
    grey = equal_channels(pixels, 2**bits - 1)
    if options.intensity == "used":
        bits = used_bits(0, int(np.ceil(grey.max())))
    return unit_range(grey, 0, 2**bits - 1)


def _brief(fault: BaseException) -> str:
    """One line of a library's message."""
    return " ".join(str(fault).split())[:300] or type(fault).__name__

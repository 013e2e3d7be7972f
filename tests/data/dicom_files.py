"""Writes small DICOM files of every kind the tests need; all content is synthetic."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)


def lut_item(
    first: int,
    bits: int,
    entries: np.ndarray,
    *,
    signed: bool = False,
    packed: bool = False,
    count: int | None = None,
) -> Dataset:
    """One item of a modality or VOI LUT sequence; packed = two 8-bit entries to a word, count = what it announces."""
    item = Dataset()
    item.add_new(
        "LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536 if count is None else count, first, bits]
    )
    if packed:
        item.add_new("LUTData", "OW", entries.astype(np.uint8).tobytes() + b"\0" * (len(entries) % 2))
    else:
        item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def write_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    bits: int = 12,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    syntax: UID = ExplicitVRLittleEndian,
    patient: str = "Secret^Name",
    modality_lut: Dataset | None = None,
    voi_lut: Dataset | None = None,
    raw: bytes | None = None,
    **attributes: Any,
) -> Path:
    """Write stored values (H, W) or (H, W, 3) as they are, with any further attributes by keyword."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    implicit, big = syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    dataset = FileDataset(
        str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=implicit, is_little_endian=not big
    )
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientName = patient
    dataset.PatientID = "secret-id"
    dataset.Modality = "CR"
    allocated = 8 if bits <= 8 else 16
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    if modality_lut is not None:
        dataset.ModalityLUTSequence = Sequence([modality_lut])
    if voi_lut is not None:
        dataset.VOILUTSequence = Sequence([voi_lut])
    for name, value in attributes.items():
        if isinstance(value, tuple):
            dataset.add_new(name, *value)
        else:
            setattr(dataset, name, value)
    kind = (">" if big else "<") + ("i" if signed else "u") + str(allocated // 8)
    content = pixels.astype(kind).tobytes() if raw is None else raw
    dataset.add_new("PixelData", "OW", content + b"\0" * (len(content) % 2))
    dataset.save_as(path, enforce_file_format=True)
    return path

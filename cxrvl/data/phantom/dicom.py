"""How does the phantom become DICOM? Clearly labelled synthetic files for tests of readers and for demonstrations."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from cxrvl.data.phantom.cohort import HOSPITALS, Cohort
from cxrvl.data.phantom.draws import Draws
from cxrvl.data.phantom.geometry import FIELD_MM
from cxrvl.data.phantom.render import GENERATOR_VERSION
from cxrvl.errors import ConfigError

WINDOWS = ("LINEAR", "LINEAR_EXACT", "none")
# The first day a phantom patient may be seen: dates are invented like everything else.
_FIRST_DAY, _DAYS = date(2001, 1, 1), 3000
# What each hospital's equipment (`detector.EQUIPMENT`) writes: class, modality, tube voltage, inverted or not.
_Equipment = tuple[UID, str, str, bool]
_DIGITAL: _Equipment = (DigitalXRayImageStorageForPresentation, "DX", "120", False)
_PLATES: _Equipment = (ComputedRadiographyImageStorage, "CR", "90", True)


def write_dicom(
    folder: Path,
    images: NDArray[np.float32],
    cohort: Cohort,
    *,
    monochrome1: bool | None = False,
    bits: int = 12,
    window: str = "LINEAR",
) -> list[Path]:
    """Write one file per image, named phantom-<seed>-<number>.dcm.

    Args:
        folder: made if absent; files of the same name are replaced.
        images: (N, H, W) in [0, 1], bright where dense.
        cohort: the N images' patients; age, sex, dates and ids go into the header.
        monochrome1: store inverted with that photometric interpretation; shown, both kinds look the same. None: as the
            hospital does (A not, B inverted).
        bits: stored bits, 8 to 16, in 16 allocated.
        window: VOI LUT function of a window over the full range, LINEAR or LINEAR_EXACT; "none" writes no window.

    Returns:
        The paths. Explicit little endian; the shown values are the image rounded to 1 / (2**bits - 1). PatientName is
        PHANTOM^SYNTHETIC; UIDs are a hash of who is shown with which findings, and how, under pydicom's root.

    Raises:
        ConfigError: `bits` or `window` that cannot be written.
    """
    if not 8 <= bits <= 16:
        raise ConfigError(f"phantom DICOM with {bits} stored bits; give 8 to 16.")
    if window not in WINDOWS:
        raise ConfigError(f"phantom DICOM with window {window!r}; choose one of {list(WINDOWS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row, image in enumerate(images):
        path = folder / f"phantom-{cohort.seed}-{int(cohort.index[row]):06d}.dcm"
        equipment = _PLATES if cohort.hospital[row] else _DIGITAL
        inverted = equipment[3] if monochrome1 is None else monochrome1
        form = f"{image.shape}/{inverted}/{bits}/{window}"
        data = _header(path, cohort, row, equipment, form)
        _add_pixels(data, image, inverted, bits, window)
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _header(path: Path, cohort: Cohort, row: int, equipment: _Equipment, form: str) -> FileDataset:
    sop_class, modality, voltage, _ = equipment
    name = f"phantom/{GENERATOR_VERSION}/{cohort.seed}"
    patient, number = int(cohort.patient[row]), int(cohort.index[row])
    # Cohorts of one seed differ by their options: in what is found, or in the hospital.
    found = f"{cohort.findings}/{cohort.severity[row].astype('<f8').tobytes().hex()}"
    found += f"/{int(cohort.hospital[row])}/{int(cohort.age[row])}"
    study = f"{name}/study/{patient}/{int(cohort.visit[row])}/{found}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[study, "image", form])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID = "PHANTOM^SYNTHETIC", f"SYNTHETIC-{cohort.seed}-{patient:06d}"
    data.PatientBirthDate, data.PatientSex = "", "F" if cohort.female[row] else "M"
    data.PatientAge = f"{int(cohort.age[row]):03d}Y"
    data.StudyInstanceUID = generate_uid(entropy_srcs=[study])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[study, "series"])
    data.StudyID, data.SeriesNumber, data.InstanceNumber = str(int(cohort.visit[row])), 1, 1
    data.StudyDate = data.SeriesDate = data.ContentDate = _study_date(cohort, row)
    data.StudyTime = data.SeriesTime = data.ContentTime = "120000"
    data.AccessionNumber, data.ReferringPhysicianName = f"SYN{cohort.seed % 10**6:06d}{number:06d}"[:16], ""
    data.StudyDescription = "SYNTHETIC chest radiograph, not of a person"
    data.SeriesDescription = "SYNTHETIC chest PA"
    data.ImageType = ["DERIVED", "PRIMARY"]
    data.ImageComments = f"SYNTHETIC: cxrvl phantom, generator version {GENERATOR_VERSION}"
    data.Manufacturer, data.ManufacturerModelName = "cxrvl", "phantom"
    data.InstitutionName = f"PHANTOM {HOSPITALS[int(cohort.hospital[row])]}"
    data.Modality, data.BodyPartExamined, data.ViewPosition = modality, "CHEST", "PA"
    data.KVP, data.DistanceSourceToDetector = voltage, "1800"
    data.PatientOrientation, data.ImageLaterality = ["L", "F"], "U"
    data.BurnedInAnnotation = "YES"
    if modality == "DX":
        data.PresentationIntentType = "FOR PRESENTATION"
        data.DetectorType = "DIRECT"
        data.AnatomicRegionSequence = [_chest()]
        data.AcquisitionContextSequence = []
    else:
        data.PlateType = "SYNTHETIC"
    return data


def _study_date(cohort: Cohort, row: int) -> str:
    people = Draws(cohort.seed, cohort.patient[row : row + 1])
    first = _FIRST_DAY + timedelta(days=int(people.uniform("study date")[0] * _DAYS))
    return (first + timedelta(days=int(cohort.days[row]))).strftime("%Y%m%d")


def _chest() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    return code


def _add_pixels(data: Dataset, image: NDArray[np.float32], monochrome1: bool, bits: int, window: str) -> None:
    top = 2**bits - 1
    stored = np.rint(image.astype(np.float64) * top).astype(np.uint16)
    data.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    data.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    data.Rows, data.Columns = stored.shape
    spacing = [f"{FIELD_MM / side:.6g}" for side in stored.shape]
    data.ImagerPixelSpacing = data.PixelSpacing = spacing
    data.SamplesPerPixel, data.BitsAllocated = 1, 16
    data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, 0
    data.PixelIntensityRelationship, data.PixelIntensityRelationshipSign = "LOG", 1 if monochrome1 else -1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "US"
    data.LossyImageCompression = "00"
    if window != "none":
        # Windows that map 0 to black and `top` to white exactly (DICOM PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2).
        exact = window == "LINEAR_EXACT"
        data.WindowCenter, data.WindowWidth = (top / 2, top) if exact else ((top + 1) / 2, top + 1)
        data.VOILUTFunction, data.WindowCenterWidthExplanation = window, "FULL RANGE"
    data.PixelData = (top - stored if monochrome1 else stored).astype("<u2").tobytes()

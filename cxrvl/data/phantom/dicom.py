"""How does the phantom become DICOM? Clearly labelled synthetic files for tests of readers and for demonstrations."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from cxrvl.data.phantom.cohort import HOSPITALS, Cohort
from cxrvl.data.phantom.render import GENERATOR_VERSION

STORED_BITS = 12


def write_dicom(folder: Path, images: NDArray[np.float32], cohort: Cohort, *, monochrome1: bool = False) -> list[Path]:
    """Write one file per image, named phantom-<seed>-<number>.dcm.

    Args:
        folder: made if absent; files of the same name are replaced.
        images: (N, H, W) in [0, 1], bright where dense.
        cohort: the N images' patients; age, sex and ids go into the header.
        monochrome1: store inverted with that photometric interpretation; shown, both kinds look the same.

    Returns:
        The paths. Pixels are 12 bits in 16, explicit little endian, with a LINEAR window over the full range, so the
        shown values are the image rounded to 1/4095. PatientName is PHANTOM^SYNTHETIC.
    """
    folder.mkdir(parents=True, exist_ok=True)
    top = 2**STORED_BITS - 1
    paths = []
    for row, image in enumerate(images):
        path = folder / f"phantom-{cohort.seed}-{int(cohort.index[row]):06d}.dcm"
        stored = np.rint(image * np.float32(top)).astype(np.uint16)
        data = _header(path, cohort, row)
        data.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
        data.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
        data.Rows, data.Columns = stored.shape
        # LINEAR window that maps 0 to black and `top` to white exactly (DICOM PS3.3 C.11.2.1.2).
        data.WindowCenter, data.WindowWidth = (top + 1) / 2, top + 1
        data.PixelData = (top - stored if monochrome1 else stored).astype("<u2").tobytes()
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _header(path: Path, cohort: Cohort, row: int) -> FileDataset:
    name = f"phantom/{GENERATOR_VERSION}/{cohort.seed}"
    patient, number = int(cohort.patient[row]), int(cohort.index[row])
    study = f"{name}/study/{patient}/{int(cohort.visit[row])}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name, "image", str(number)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID = "PHANTOM^SYNTHETIC", f"SYNTHETIC-{cohort.seed}-{patient:06d}"
    data.PatientSex = "F" if cohort.female[row] else "M"
    data.PatientAge = f"{int(cohort.age[row]):03d}Y"
    data.StudyInstanceUID = generate_uid(entropy_srcs=[study])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[study, "series"])
    data.StudyID, data.SeriesNumber, data.InstanceNumber = str(int(cohort.visit[row])), 1, 1
    data.StudyDescription = "SYNTHETIC chest radiograph, not of a person"
    data.ImageType = ["DERIVED", "PRIMARY"]
    data.ImageComments = f"SYNTHETIC: cxrvl phantom, generator version {GENERATOR_VERSION}"
    data.InstitutionName = f"PHANTOM {HOSPITALS[int(cohort.hospital[row])]}"
    data.Modality, data.BodyPartExamined, data.ViewPosition = "DX", "CHEST", "PA"
    data.PatientOrientation = ["L", "F"]
    data.BurnedInAnnotation = "YES"
    data.PresentationIntentType = "FOR PRESENTATION"
    data.SamplesPerPixel, data.BitsAllocated = 1, 16
    data.BitsStored, data.HighBit, data.PixelRepresentation = STORED_BITS, STORED_BITS - 1, 0
    data.PixelIntensityRelationship, data.PixelIntensityRelationshipSign = "LOG", 1
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = 0, 1, "US"
    data.VOILUTFunction = "LINEAR"
    return data

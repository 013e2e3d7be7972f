"""Are the phantom's DICOM files well formed, labelled synthetic, and read back as the images they hold?"""

import datetime

import numpy as np
import pydicom
import pytest
from pydicom.uid import PYDICOM_ROOT_UID

from cxrvl.data.dicom import dicom_attributes
from cxrvl.data.phantom.dicom import WINDOWS
from cxrvl.data.readers import read_image
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.errors import ConfigError

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@pytest.fixture(scope="module")
def source() -> PhantomSource:
    return PhantomSource(seed=7, size=40, follow_ups=0.5)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("monochrome1", [False, True, None])
def test_every_variant_reads_back_as_the_image(source, tmp_path, bits, monochrome1):
    images = source.read_many([source.key(index) for index in range(4)])
    for window in WINDOWS:
        paths = source.write_dicom(tmp_path / window, range(4), monochrome1=monochrome1, bits=bits, window=window)
        for path, image in zip(paths, images, strict=True):
            assert np.abs(read_image(path) - image).max() <= 0.51 / (2**bits - 1)


def test_hospitals_write_as_their_equipment_does(source, tmp_path):
    frame = source.table().frame
    paths = source.write_dicom(tmp_path, range(40), monochrome1=None)
    kinds = {"A": ("DX", "MONOCHROME2", "PA"), "B": ("CR", "MONOCHROME1", "PA")}
    for row, path in enumerate(paths):
        read = dicom_attributes(path)
        assert (read["Modality"], read["PhotometricInterpretation"], read["ViewPosition"]) == kinds[frame.hospital[row]]
        assert read["PixelSpacing"] == read["ImagerPixelSpacing"] == [10.0, 10.0]
        assert read["BodyPartExamined"] == "CHEST"


def test_headers_agree_with_the_table(source, tmp_path):
    frame = source.table().frame
    for row, path in enumerate(source.write_dicom(tmp_path, range(40))):
        data = pydicom.dcmread(path)
        assert str(data.PatientName) == "PHANTOM^SYNTHETIC"
        assert "SYNTHETIC" in data.StudyDescription
        assert "SYNTHETIC" in data.SeriesDescription
        assert data.PatientID.endswith(frame.patient[row].removeprefix("phantom-7-"))
        assert (data.PatientSex, data.PatientAge) == (frame.sex[row], f"{int(frame.age[row]):03d}Y")
        if frame.prior[row]:
            prior = pydicom.dcmread(tmp_path / f"phantom-7-{frame.prior[row][-6:]}.dcm")
            days = [datetime.datetime.strptime(d.StudyDate, "%Y%m%d") for d in (prior, data)]
            assert (days[1] - days[0]).days == frame.days[row]
            assert prior.PatientID == data.PatientID
            assert prior.StudyInstanceUID != data.StudyInstanceUID


COUNT = 24


def test_uids_are_valid_and_belong_to_one_image_alone(source, tmp_path):
    first = [pydicom.dcmread(path) for path in source.write_dicom(tmp_path / "a", range(COUNT))]
    again = [pydicom.dcmread(path) for path in source.write_dicom(tmp_path / "b", range(COUNT))]
    other = [pydicom.dcmread(p) for p in PhantomSource(seed=7, size=40).write_dicom(tmp_path / "c", range(COUNT))]
    inverted = [pydicom.dcmread(p) for p in source.write_dicom(tmp_path / "d", range(COUNT), monochrome1=True)]
    for name in UIDS:
        uids = [data[name].value for data in first]
        assert len(set(uids)) == COUNT
        assert all(uid.is_valid and uid.startswith(PYDICOM_ROOT_UID) and len(uid) <= 64 for uid in uids)
        assert uids == [data[name].value for data in again]
    assert all(a.SOPInstanceUID != b.SOPInstanceUID for a, b in zip(first, inverted, strict=True))
    assert all(a.StudyInstanceUID == b.StudyInstanceUID for a, b in zip(first, inverted, strict=True))
    # Another course of the same patients' findings is another set of studies, wherever it differs.
    differs = [a.PixelData != b.PixelData for a, b in zip(first, other, strict=True)]
    assert any(differs)
    assert all(a.SOPInstanceUID != b.SOPInstanceUID for a, b, d in zip(first, other, differs, strict=True) if d)


@pytest.mark.parametrize("wrong", [{"bits": 7}, {"bits": 17}, {"window": "CUBIC"}])
def test_impossible_encodings_are_refused(source, tmp_path, wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        source.write_dicom(tmp_path, [0], **wrong)

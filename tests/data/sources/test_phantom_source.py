"""Does the phantom keep the contract of a source: table, pixels, masks, DICOM, clear refusals?"""

import json
import pickle

import numpy as np
import pydicom
import pytest

from cxrvl.data.phantom import FINDINGS
from cxrvl.data.readers import read_image
from cxrvl.data.sources.base import Source
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def source() -> PhantomSource:
    return PhantomSource(images=300, seed=7, size=64)


def test_it_is_a_picklable_source(source):
    assert isinstance(source, Source)
    again = pickle.loads(pickle.dumps(source))
    assert again.table().fingerprint() == source.table().fingerprint()


def test_table_keeps_the_contract(source):
    table = source.table()
    frame = table.frame
    assert len(frame) == 300
    assert table.labels == FINDINGS
    assert table.split_name == "phantom"
    assert frame["image"][12] == "phantom/7/000012"
    assert set(frame["split"]) == {"train", "val", "test"}
    assert set(np.unique(table.targets())) == {0, 1}
    assert set(frame["view"]) == {"PA"}
    assert set(frame["hospital"]) == {"A", "B"}
    assert (frame["width"] == 64).all()
    for row in frame.itertuples():
        boxed = {box[0] for box in row.boxes}
        assert boxed == {label for label in FINDINGS if frame.at[row.Index, label] == 1}
    for label in FINDINGS:
        present = frame[label] == 1
        assert (frame.loc[present, f"severity/{label}"] > 0).all()
        assert (frame.loc[~present, f"severity/{label}"] == 0).all()
        assert set(frame.loc[present, f"side/{label}"]) <= ({""} if label == "Cardiomegaly" else {"left", "right"})
        assert set(frame.loc[~present, f"side/{label}"]) == {""}


def test_longer_cohort_begins_with_the_shorter(source):
    longer = PhantomSource(images=600, seed=7, size=64).table().frame.iloc[:300]
    assert longer.equals(source.table().frame)


def test_chosen_labels_keep_their_order_and_boxes():
    table = PhantomSource(images=100, labels=["Pneumothorax", "Effusion"]).table()
    assert table.labels == ("Pneumothorax", "Effusion")
    assert {box[0] for boxes in table.frame["boxes"] for box in boxes} == {"Pneumothorax", "Effusion"}
    assert "side/Nodule" not in table.frame
    with pytest.raises(DataError, match="Pneumothorax"):
        PhantomSource(labels=["Pneumotorax"]).table()


def test_reading_one_and_many_agree(source):
    keys = list(source.table().frame["image"][[5, 250, 3]])
    many = source.read_many(keys)
    assert many.shape == (3, 64, 64)
    assert many.dtype == np.float32
    for key, image in zip(keys, many, strict=True):
        assert np.array_equal(source.read(key), image)


@pytest.mark.parametrize("key", ["phantom/8/000001", "phantom/7/1", "images/00000001_000.png", "phantom/7/00000a"])
def test_foreign_keys_are_refused(source, key):
    with pytest.raises(DataError, match="phantom/7/000000"):
        source.read(key)


def test_masks_cover_the_findings_of_the_table(source):
    table = source.table()
    row = int(np.argmax(table.targets().sum(axis=1)))
    masks = source.finding_masks(table.frame["image"][row], size=256)
    assert set(masks) == {label for label in FINDINGS if table.frame[label][row] == 1}
    for label, x0, y0, x1, y1 in table.frame["boxes"][row]:
        assert masks[label].shape == (256, 256)
        inside = masks[label][round(y0 * 256) : round(y1 * 256) + 1, round(x0 * 256) : round(x1 * 256) + 1]
        assert inside.sum() > 0.9 * masks[label].sum()


def test_pixel_identity_tells_apart_what_looks_different():
    plain = PhantomSource().pixel_identity()
    json.dumps(plain)
    assert PhantomSource(images=9).pixel_identity() == plain
    assert PhantomSource(labels=["Nodule"]).pixel_identity() == plain
    changes = ({"seed": 1}, {"size": 64}, {"prevalence": 0.3}, {"severity": (0.5, 1.0)}, {"hospitals": "B"})
    for change in changes:
        assert PhantomSource(**change).pixel_identity() != plain


def test_hospital_shift_moves_only_the_test_patients():
    frame = PhantomSource(images=200, hospitals="shift").table().frame
    assert set(frame.loc[frame["split"] == "test", "hospital"]) == {"B"}
    assert set(frame.loc[frame["split"] != "test", "hospital"]) == {"A"}


@pytest.mark.parametrize("option", [{"images": 0}, {"seed": -1}, {"size": 8}, {"images": 2.5}, {"hospitals": "x"}])
def test_impossible_options_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        PhantomSource(**option).table()


@pytest.mark.parametrize("monochrome1", [False, True])
def test_dicom_shows_the_same_image(source, tmp_path, monochrome1):
    paths = source.write_dicom(tmp_path / "dicom", [3, 40], monochrome1=monochrome1)
    assert [path.name for path in paths] == ["phantom-7-000003.dcm", "phantom-7-000040.dcm"]
    data = pydicom.dcmread(paths[1])
    assert str(data.PatientName) == "PHANTOM^SYNTHETIC"
    assert data.PhotometricInterpretation == ("MONOCHROME1" if monochrome1 else "MONOCHROME2")
    assert (data.BitsStored, data.BitsAllocated) == (12, 16)
    shown = data.pixel_array / 4095
    image = source.read("phantom/7/000040")
    assert np.abs((1 - shown if monochrome1 else shown) - image).max() <= 0.51 / 4095
    assert np.abs(read_image(paths[1]) - image).max() < 1 / 1000
    assert pydicom.dcmread(paths[0]).SOPInstanceUID != data.SOPInstanceUID

"""Do class folders become a study table: both layouts, labels, patients, splits, and every fault by file?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_images import write_images

from cxrvl.data.sources.folder import Folder, class_folders
from cxrvl.errors import DataError

FLAT = ["NORMAL/p1_a.png", "NORMAL/p2_a.jpg", "TB/p3/one.png", "TB/p3/two.png", "OTHER/p4_a.JPEG"]
SPLIT = ["Train/NORMAL/p1_a.png", "Train/TB/p2_a.png", "valid/TB/p3_a.png", "testing/NORMAL/p4_a.png"]


def test_classes_become_labels(tmp_path):
    write_images(tmp_path, FLAT)
    table = Folder(tmp_path, "mine").table()
    assert table.labels == ("NORMAL", "OTHER", "TB")
    assert table.frame["image"].tolist() == sorted(FLAT)
    np.testing.assert_array_equal(table.targets(), [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert "mine: no patient is known: every file is taken as its own patient" in table.notes
    assert table.frame["patient"].is_unique
    assert table.split_name.startswith("mine: stratified by patient")
    assert Folder(tmp_path, "mine", labels=["TB", "NORMAL"]).table().labels == ("TB", "NORMAL")


def test_map_and_patients(tmp_path):
    write_images(tmp_path, FLAT)
    label_map = {"NORMAL": "No Finding", "TB": "Tuberculosis", "OTHER": None}
    source = Folder(tmp_path, "mine", label_map=label_map, patient=r"^(p\d+)")
    table = source.table()
    assert table.labels == ("Tuberculosis", "No Finding")
    assert table.frame["patient"].tolist() == ["p1", "p2", "p4", "p3", "p3"]
    assert not any("no patient" in note for note in table.notes)
    assert source.read("TB/p3/one.png").shape == (6, 8)


def test_split_folders(tmp_path):
    write_images(tmp_path, SPLIT)
    table = Folder(tmp_path, "mine", patient=r"p\d+").table()
    splits = dict(zip(table.frame["image"], table.frame["split"], strict=True))
    assert splits == dict(zip(SPLIT, ["train", "train", "val", "test"], strict=True))
    assert table.split_name == "mine: split folders"
    again = Folder(tmp_path, "mine", split={"by": "patient", "fractions": {"test": 1.0}}).table()
    assert set(again.frame["split"]) == {"test"}


def test_a_patient_in_two_split_folders_is_refused(tmp_path):
    write_images(tmp_path, [*SPLIT, "testing/TB/p2_b.png"])
    with pytest.raises(DataError, match=r"patient 'p2' has images in train and test"):
        Folder(tmp_path, "mine", patient=r"p\d+").table()


@pytest.mark.parametrize(
    ("keys", "options", "words"),
    [
        (["a.png"], {}, r"image 'a.png' lies in no class folder; expected <class>/a.png"),
        (["train/a.png"], {}, r"image 'train/a.png' lies in no class folder; expected <split>/<class>/a.png"),
        (["train/A/a.png", "B/b.png"], {}, r"train are splits, but B beside them is none"),
        (FLAT, {"patient": r"^(q\d+)"}, r"'p1_a.png' does not fit data.source.patient=.*\(5 such files\)"),
        (FLAT, {"patient": "(p"}, r"data.source.patient='\(p' is no regular expression"),
        (FLAT, {"label_map": {"NORMAL": "No Finding", "TB": "Tuberculosis"}}, r"no entry for the column 'OTHER'"),
        (FLAT, {"label_map": {"NORMAL": "Normal", "TB": None, "OTHER": None}}, r"label_map points to 'Normal'"),
        (FLAT, {"labels": ["Tb"]}, r"no label 'Tb'; did you mean 'TB'"),
        (["image/a.png", "B/b.png"], {}, r"'image' cannot be a label"),
    ],
)
def test_faults_name_the_file(tmp_path, keys, options, words):
    write_images(tmp_path, keys)
    with pytest.raises(DataError, match=words):
        Folder(tmp_path, "mine", **options).table()


def test_empty_and_absent_folders(tmp_path):
    (tmp_path / "A").mkdir()
    with pytest.raises(DataError, match="no PNG, JPEG or DICOM file"):
        Folder(tmp_path, "mine").table()
    with pytest.raises(DataError, match=r"no such folder; set data\.root"):
        Folder(tmp_path / "nowhere", "mine").table()


def test_a_linked_file_from_outside_is_refused(tmp_path):
    write_images(tmp_path / "outside", ["x.png"])
    write_images(tmp_path / "set", ["A/a.png"])
    (tmp_path / "set/A/b.png").symlink_to(tmp_path / "outside/x.png")
    with pytest.raises(DataError, match=r"image 'A/b.png': the file lies outside the data root"):
        Folder(tmp_path / "set", "mine").table()


names = st.text("abcXYZ019_- ä", min_size=1, max_size=6).map(str.strip).filter(bool)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, st.sets(names, min_size=1, max_size=3), min_size=1, max_size=4))
def test_every_image_is_listed_once_in_its_class(tmp_path_factory, classes):
    root = tmp_path_factory.mktemp("classes")
    keys = sorted(f"c{name}/{file}.png" for name, files in classes.items() for file in files)
    for key in keys:
        (root / key).parent.mkdir(exist_ok=True)
        (root / key).write_bytes(b"x")
    frame, notes = class_folders(root)
    assert frame["image"].tolist() == keys
    assert not notes
    assert (frame["class"] + "/" + frame["file"] == frame["image"]).all()
    assert (frame["split"] == "").all()

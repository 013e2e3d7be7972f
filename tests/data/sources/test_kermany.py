"""Is the paediatric pneumonia set read rightly: both layouts, the leak of its split, real rows, faults?"""

import numpy as np
import pandas as pd
import pytest
from made_images import write_images, write_rows

from cxrvl.data.sources.folder import patients
from cxrvl.data.sources.kermany import PATIENT, Kermany
from cxrvl.errors import ConfigError, DataError

HEADER = "file,pneumonia,subtype,patient_key,kaggle_split"
ROWS = [
    "images/IM-0009-0001.jpg,0,normal,IM-0009,test",
    "images/person1_bacteria_1.jpg,1,bacteria,person1,train",
    "images/person1_virus_6.jpg,1,virus,person1,test",
]
FOLDERS = [
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0423-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person9_virus_6.jpeg",
]


@pytest.fixture
def copy(tmp_path):
    write_rows(tmp_path / "labels.csv", HEADER, ROWS)
    write_images(tmp_path, [row.split(",")[0] for row in ROWS])
    return tmp_path


def test_folders_as_downloaded(tmp_path):
    write_images(tmp_path, FOLDERS)
    (tmp_path / "train/NORMAL/.DS_Store").write_bytes(b"x")
    (tmp_path / "train/readme.txt").write_text("x")
    table = Kermany(tmp_path, split="published").table()
    assert table.frame["image"].tolist() == sorted(FOLDERS)
    assert dict(zip(table.frame["image"], table.frame["patient"], strict=True)) == {
        FOLDERS[0]: "IM-0115", FOLDERS[1]: "NORMAL2-IM-0423", FOLDERS[2]: "person1", FOLDERS[3]: "person1946",
        FOLDERS[4]: "IM-0001", FOLDERS[5]: "person9",
    }  # fmt: skip
    assert table.frame["subtype"].tolist() == ["normal", "virus", "normal", "normal", "bacteria", "bacteria"]
    assert table.frame["split"].tolist() == ["test", "test", "train", "train", "train", "val"]
    np.testing.assert_array_equal(table.targets()[:, 0], [0, 1, 0, 0, 1, 1])
    assert table.split_name == "kermany: published"
    assert "1 files that are no images are passed over: train/readme.txt" in table.notes


def test_folders_that_leak_are_refused_and_split_by_patient_by_default(tmp_path):
    write_images(tmp_path, [*FOLDERS, "test/PNEUMONIA/person1_virus_7.jpeg"])
    with pytest.raises(DataError, match=r"patient 'person1' has images in train and test; 1 of 6 patients"):
        Kermany(tmp_path, split="published").table()
    table = Kermany(tmp_path).table()
    assert table.frame.groupby("patient")["split"].nunique().max() == 1
    assert "kermany: 1 of 6 patients lie in two parts of the published split" in table.notes


def test_a_subtype_may_become_a_label(copy):
    label_map = {"pneumonia": None, "bacteria": "Pneumonia", "virus": "COVID-19", "normal": None}
    table = Kermany(copy, label_map=label_map).table()
    assert table.labels == ("Pneumonia", "COVID-19")
    np.testing.assert_array_equal(table.targets(), [[0, 0], [1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("subtype", "file", r"labels.csv: column 'file' appears twice"),
        ("patient_key", "patient", r"labels.csv: column 'patient_key' is missing"),
        (",1,bacteria", ",2,bacteria", r"labels.csv, row 2, column 'pneumonia': found '2', expected one of 1, 0"),
        (",1,bacteria", ",0,bacteria", r"labels.csv, row 2, .*pneumonia is 0 but the subtype is 'bacteria'"),
        (",1,bacteria", ",,bacteria", r"labels.csv, row 2: pneumonia or subtype is empty"),
        (",1,bacteria", ",1,fungus", r"labels.csv, row 2, column 'subtype': found 'fungus'"),
        ("person1,train", "person1,training", r"row 2, column 'kaggle_split': found 'training'"),
        ("images/person1_b", "/images/person1_b", r"labels.csv, row 2, .*is an absolute path"),
        ("images/person1_bacteria_1.jpg", "images", r"labels.csv, row 2, image 'images': the image is a folder"),
        ("images/person1_bacteria_1.jpg", "../../etc", r"labels.csv, row 2, image '../../etc': .*may leave the root"),
    ],
)
def test_faults_name_file_and_row(copy, old, new, words):
    path = copy / "labels.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        Kermany(copy).table()


@pytest.mark.parametrize("key", ["NORMAL/IM-0001-0001.jpeg", "train/COVID/person1_virus_1.jpeg"])
def test_other_folders_are_refused(tmp_path, key):
    write_images(tmp_path, [key])
    with pytest.raises(DataError, match=rf"found the image '{key}'; expected labels.csv, or train, val and test"):
        Kermany(tmp_path).table()


def test_real_copy(shared):
    root = shared / "data/kermany"
    source = Kermany(root)
    table = source.table()
    raw = pd.read_csv(root / "labels.csv")
    assert len(table) == 2210
    assert table.frame["patient"].nunique() == 1153
    np.testing.assert_array_equal(table.targets()[:, 0], raw["pneumonia"])
    np.testing.assert_array_equal(table.targets()[:, 1], raw["subtype"] == "normal")
    # The file name says who the patient is, as in the folders that users download.
    files = raw["file"].str.removeprefix("images/")
    assert patients(files, PATIENT, root).tolist() == raw["patient_key"].tolist()
    for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        part = table.split(name)
        assert len(part) / len(table) == pytest.approx(share, abs=0.02)
        assert table.targets()[part, 0].mean() == pytest.approx(raw["pneumonia"].mean(), abs=0.03)
    table.check_trainable()
    for key in table.frame["image"][:3]:
        assert source.read(key).shape == (160, 160)


def test_real_published_split_leaks(shared):
    with pytest.raises(DataError, match=r"labels.csv, row \d+, .*71 of 1153 patients .*by: patient"):
        Kermany(shared / "data/kermany", split="published").table()


def test_bacteria_against_virus_leaves_out_the_healthy(copy):
    labels = {"pneumonia": None, "bacteria": "Bacterial Pneumonia", "virus": None, "normal": None}
    table = Kermany(copy, label_map=labels, labels=["Bacterial Pneumonia"], subtypes=["bacteria", "virus"]).table()
    assert table.frame["subtype"].tolist() == ["bacteria", "virus"]
    np.testing.assert_array_equal(table.targets()[:, 0], [1, 0])
    assert "kermany: bacteria, virus alone, 2 of 3 images" in table.notes
    with pytest.raises(ConfigError, match="expected some of normal, bacteria, virus"):
        Kermany(copy, subtypes=["fungus"])

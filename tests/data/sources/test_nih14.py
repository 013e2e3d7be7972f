"""Is NIH ChestX-ray14 read rightly: real rows against the CSV, both splits, all label generations, all faults by row?"""

import csv
import pickle

import numpy as np
import pytest

from cxrvl.data.labels import CHESTXRAY14
from cxrvl.data.sources.base import Source
from cxrvl.data.sources.nih14 import NIH14, PUBLISHED
from cxrvl.data.splits import read_lists
from cxrvl.errors import DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
    "00000001_001.png,No Finding,1,1,058Y,M,AP,2894,2729,0.143,0.143,",
    "00000002_000.png,Infiltration,0,2,013M,F,PA,2500,2048,0.168,0.168,",
    "00000003_000.png,No Finding,0,3,411Y,F,PA,2500,2048,0.168,0.168,",
]
BOXES = ["Image Index,Finding Label,Bbox [x,y,w,h],,,", "00000002_000.png,Infiltrate,256,512,256,128"]
LISTS = {
    "train_val_list.txt": ["00000001_000.png", "00000001_001.png", "00000002_000.png"],
    "test_list.txt": ["00000003_000.png"],
}


@pytest.fixture
def toy(tmp_path):
    """A tiny copy of NIH's 2017 layout, with its images in two folders."""
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    (tmp_path / "BBox_List_2017.csv").write_text("\n".join(BOXES) + "\n")
    for name, lines in LISTS.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    for i, row in enumerate(ROWS):
        folder = tmp_path / f"images_{1 + i // 2:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / row.split(",")[0]).write_bytes(b"png")
    return tmp_path


def read(root, **options):
    return NIH14(root, **({"labels_version": "2017"} | options)).table()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_old_generation_and_folders(toy):
    table = read(toy)
    frame = table.frame
    assert frame["image"].tolist() == [
        "images_001/images/00000001_000.png",
        "images_001/images/00000001_001.png",
        "images_002/images/00000002_000.png",
        "images_002/images/00000003_000.png",
    ]
    np.testing.assert_allclose(frame["age"], [58, 58, 13 / 12, np.nan], rtol=1e-6)
    assert "1 ages above 130" in table.notes[0]
    assert table.labels == CHESTXRAY14
    assert table.targets().sum(axis=1).tolist() == [2, 0, 1, 0]
    assert frame["boxes"].tolist()[2] == [("Infiltration", 0.25, 0.5, 0.5, 0.625)]
    assert frame["patient"].tolist() == ["1", "1", "2", "3"]
    assert frame["study"].tolist() == ["1/0", "1/1", "2/0", "3/0"]
    assert frame["original_width"].tolist() == [2682, 2894, 2500, 2500]
    assert frame["split"].iloc[3] == "test"
    assert table.split_name == "official (4 of 112,120 images)"


def test_wide_table_of_reproduce_chexnet(toy):
    columns = [
        "Image Index",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
        *sorted(CHESTXRAY14),
        "fold",
    ]
    findings = [["Cardiomegaly", "Emphysema"], [], ["Infiltration"], []]
    with (toy / "nih_labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for row, stated, fold in zip(ROWS, findings, ("train", "train", "val", "test"), strict=True):
            name, _, follow, patient, age, sex, view, *_ = row.split(",")
            values = [int(label in stated) for label in sorted(CHESTXRAY14)]
            writer.writerow([name, follow, patient, age, sex, view, *values, fold])
    wide = read(toy, labels_version="zech_2018", split="fold")
    np.testing.assert_array_equal(wide.targets(), read(toy).targets())
    assert wide.frame["split"].tolist() == ["train", "train", "val", "test"]
    assert wide.split_name.startswith("fold ")
    edit(toy / "nih_labels.csv", ",PA,0,1,", ",PA,0,2,")
    with pytest.raises(DataError, match=r"nih_labels.csv, row 1.*expected 0 or 1"):
        read(toy, labels_version="zech_2018", split="fold")


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "Data_Entry_2017.csv",
            "Infiltration",
            "Infiltrate",
            r"row 3, column 'Finding Labels': found finding 'Infiltrate'",
        ),
        ("Data_Entry_2017.csv", "Patient ID", "Patient", r"column 'Patient ID' is missing"),
        ("Data_Entry_2017.csv", "013M", "old", r"row 3, column 'Patient Age': found 'old'"),
        (
            "Data_Entry_2017.csv",
            "00000001_001.png",
            "00000001_000.png",
            r"row 2: image '00000001_000.png' is listed twice",
        ),
        ("Data_Entry_2017.csv", "No Finding", "No Finding|Mass", r"row 2, .*beside a finding"),
        ("Data_Entry_2017.csv", "1,1,058Y", "1,3,058Y", r"patient '3' has images in"),
        (
            "test_list.txt",
            "00000003_000.png",
            "00000004_000.png",
            r"'00000003_000.png' of the label table \(row 4\) is in no part",
        ),
        (
            "test_list.txt",
            "00000003_000.png",
            "00000003_000.png\n00000004_000.png",
            r"00000004_000.png not in the label table",
        ),
        (
            "test_list.txt",
            "00000003_000.png",
            "00000003_000.png\n00000001_000.png",
            r"'00000001_000.png' is in 'train' as well",
        ),
        ("BBox_List_2017.csv", "256,512", "256,x", r"BBox_List_2017.csv, row 1: Bbox \[x is"),
        ("BBox_List_2017.csv", "Infiltrate", "Tumour", r"BBox_List_2017.csv, row 1: Finding Label is 'Tumour'"),
        ("BBox_List_2017.csv", "00000002_000", "00000009_000", r"Image Index is '00000009_000.png', expected an image"),
        ("BBox_List_2017.csv", "256,512,256,128", "256,512,2560,128", r"row 3, .*Infiltration box .* is impossible"),
        ("BBox_List_2017.csv", "Bbox [x", "x", r"expected Image Index,Finding Label,Bbox"),
    ],
)
def test_faults_are_named(toy, file, old, new, words):
    edit(toy / file, old, new)
    with pytest.raises(DataError, match=words):
        read(toy)


def test_absent_images(toy):
    (toy / "images_002/images/00000003_000.png").unlink()
    with pytest.raises(DataError, match=r"row 4: image '00000003_000.png' is in none .*\(1 of 4 .*subset=true"):
        read(toy)
    table = read(toy, subset=True)
    assert len(table) == 3
    assert "3 of 4 rows" in table.notes[-1]
    assert table.split_lists == read_lists({"train": toy / "train_val_list.txt", "test": toy / "test_list.txt"}).sha256


def test_double_image_and_missing_folders(toy):
    (toy / "images_001/images/00000003_000.png").write_bytes(b"png")
    with pytest.raises(DataError, match="lies in two folders"):
        read(toy)
    with pytest.raises(DataError, match=r"no such folder; set data.image_dirs"):
        read(toy, image_dirs=["pictures"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels_version": "2018"}, "expected one of v2020, 2017, zech_2018"),
        (
            {"labels_version": "v2020"},
            r"Data_Entry_2017_v2020.csv: no such file.*BBox_List_2017.csv, Data_Entry_2017.csv",
        ),
        ({"split": "chexnet_random"}, "chexnet_train_list.txt: no such file"),
        ({"split": "oficial"}, "expected official, chexnet_random, fold"),
        ({"split": "fold"}, "needs a column 'fold'"),
        ({"views": ["LL"]}, "no image has the view LL; views there: AP, PA"),
        ({"labels": ["Masses"]}, "did you mean 'Mass'"),
    ],
)
def test_bad_options(toy, options, words):
    with pytest.raises(DataError, match=words):
        read(toy, **options)


def test_own_split_file_views_and_labels(toy):
    (toy / "mine.csv").write_text("patient,split\n1,test\n2,train\n3,val\n")
    table = read(toy, split="mine.csv", views=["PA"], labels=["No Finding", "Infiltration"])
    assert table.frame["split"].tolist() == ["test", "train", "val"]
    assert table.targets().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert table.split_name.startswith("mine.csv ")


def real(shared, **options):
    return NIH14(shared / "data/nih14", image_suffix=".jpg", **options)


def test_real_rows_match_the_csv(shared):
    source = real(shared)
    table = source.table()
    assert isinstance(source, Source)
    assert pickle.loads(pickle.dumps(source)).table().fingerprint() == table.fingerprint()
    with (shared / "data/nih14/Data_Entry_2017_v2020.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(table) == len(rows) == 1938
    for row, (_, got) in zip(rows[::97], table.frame.iloc[::97].iterrows(), strict=True):
        assert got["image"] == "images/" + row["Image Index"].replace("png", "jpg")
        assert {label for label in CHESTXRAY14 if got[label] == 1} == set(row["Finding Labels"].split("|")) - {
            "No Finding"
        }
        assert got["patient"] == row["Patient ID"]
        assert got["age"] == float(row["Patient Age"])
    official_test = (shared / "data/nih14/test_list.txt").read_text().split()
    in_test = table.frame["image"].iloc[table.split("test")]
    assert set(in_test) == {"images/" + name.replace("png", "jpg") for name in official_test}
    assert sum(map(len, table.frame["boxes"])) == 110
    table.check_trainable()


def test_real_splits_differ_and_say_so(shared):
    official, random = real(shared).table(), real(shared, split="chexnet_random").table()
    assert official.split_name.startswith("official (1,938")
    assert random.split_name.startswith("chexnet_random (1,938")
    assert official.split_sha256 != random.split_sha256
    assert random.frame["split"].value_counts().to_dict() == {"train": 1063, "test": 749, "val": 126}
    assert 0.08 < len(official.split("val")) / (len(official.split("val")) + len(official.split("train"))) < 0.2


def test_published_lists_are_known(shared):
    folder = shared / "data/metadata"
    parts = {"train": "train_val", "test": "test"}
    official = read_lists({name: folder / f"nih14_{part}_list.txt.gz" for name, part in parts.items()})
    random = read_lists({name: folder / f"chexnet_nih14_{name}_list.txt.gz" for name in ("train", "val", "test")})
    assert {"official": official.sha256, "chexnet_random": random.sha256} == PUBLISHED
    assert len(official.split) == len(random.split) == 112_120


def test_subset_with_complete_lists(shared):
    folder = shared / "data/metadata"
    lists = {"train": str(folder / "nih14_train_val_list.txt.gz"), "test": str(folder / "nih14_test_list.txt.gz")}
    full = real(shared, lists=lists, subset=True).table()
    assert full.split_lists == PUBLISHED["official"]
    # The same images in the same splits, whichever file said so.
    assert full.split_sha256 == real(shared).table().split_sha256
    assert full.split_name == "official (1,938 of 112,120 images)"


def test_suffix_hint(shared):
    with pytest.raises(DataError, match=r"there is 00000003_000.jpg: set data.source.image_suffix to .jpg"):
        NIH14(shared / "data/nih14").table()


def test_real_image_is_read(shared):
    source = real(shared)
    image = source.read(source.table().frame["image"].iloc[0])
    assert image.shape == (224, 224)
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert "reader" in source.pixel_identity()

"""Does a YAML mapping bring in other people's tables: three real data sets, and the headers of others?"""

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from cxrvl.data.sources.manifest import Manifest
from cxrvl.errors import DataError

BY_PATIENT = {"by": "patient", "fractions": {"train": 0.7, "val": 0.1, "test": 0.2}, "seed": 0}
CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Pleural Effusion\n"
    "CheXpert/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,\n"
    "CheXpert/train/patient00002/study2/view1_frontal.jpg,Male,87,Frontal,PA,,-1.0,1.0\n"
    "CheXpert/train/patient00002/study2/view2_lateral.jpg,Male,87,Lateral,,,-1.0,1.0\n"
    "CheXpert/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,0.0\n"
)
CHEXPERT_COLUMNS = {
    "image": "Path",
    "patient": {"column": "Path", "pattern": r"(patient\d+)"},
    "study": {"column": "Path", "pattern": r"patient\d+/study\d+"},
    "split": {"column": "Path", "pattern": r"CheXpert/(\w+)/"},
    "view": "AP/PA",
    "sex": "Sex",
    "age": "Age",
}
VINDR = (
    "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
    "a,No finding,14,R1,,,,\n"
    "b,Cardiomegaly,3,R1,691,1375,1653,1831\n"
    "b,Nodule/Mass,8,R2,100,200,300,400\n"
    "b,Cardiomegaly,3,R2,700,1370,1650,1830\n"
    "c,Aortic enlargement,0,R1,10,10,20,20\n"
)


def touch(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def kermany(shared, **options):
    base = {
        "file": "labels.csv",
        "name": "kermany",
        "columns": {"image": "file", "patient": "patient_key", "split": "kaggle_split"},
        "labels": {"Pneumonia": "pneumonia", "Virus": {"column": "subtype", "has": "virus"}},
    }
    return Manifest(shared / "data/kermany", **(base | options))


def test_kermany_published_split_leaks(shared):
    with pytest.raises(DataError, match=r"labels.csv, row \d+, .*71 of 1153 patients .*by: patient"):
        kermany(shared).table()


@pytest.mark.parametrize("stratify", [False, True])
def test_kermany_by_patient(shared, stratify):
    table = kermany(shared, split=BY_PATIENT | {"stratify": stratify}).table()
    raw = pd.read_csv(shared / "data/kermany/labels.csv")
    np.testing.assert_array_equal(table.targets()[:, 0], raw["pneumonia"])
    np.testing.assert_array_equal(table.targets()[:, 1], raw["subtype"] == "virus")
    assert table.frame.groupby("patient")["split"].nunique().max() == 1
    assert len(table.split("test")) / len(table) == pytest.approx(0.2, abs=0.06)
    assert (table.frame["bytes"] > 0).all()
    table.check_trainable()


def test_mhh_with_template_and_one_class(shared):
    source = Manifest(
        shared / "data/mhh_covid19",
        file="data.csv",
        name="mhh_covid19",
        columns={"image": "images/{image_id}.jpg", "patient": "patient_id", "sex": "sex", "view": "projection"},
        recode={"sex": {"f": "F", "m": "M"}, "view": {"ap": "AP", "pa": "PA"}},
        labels={"COVID-19": {"constant": 1}},
        split=BY_PATIENT,
    )
    table = source.table()
    assert len(table) == 243
    assert set(table.frame["sex"]) == {"F", "M"}
    assert set(table.frame["view"]) == {"AP", "PA"}
    with pytest.raises(DataError, match="no negative image for COVID-19"):
        table.check_trainable()
    assert source.read(table.frame["image"].iloc[0]).ndim == 2


def covid(shared, **options):
    rule = {"column": "finding", "separator": ",", "unstated": ["todo"]}
    base = {
        "file": "metadata.csv",
        "name": "covid_chestxray",
        "columns": {"image": "file", "patient": "patientid", "view": "view", "age": "age", "notes": "clinical_notes"},
        "labels": {"COVID-19": rule | {"has": "COVID-19"}, "ARDS": rule | {"has": "ARDS"}},
        "split": BY_PATIENT,
    }
    return Manifest(shared / "data/covid_chestxray", **(base | options))


def test_covid_lists_of_findings(shared):
    table = covid(shared).table()
    raw = pd.read_csv(shared / "data/covid_chestxray/metadata.csv")
    targets = table.targets()
    assert np.isnan(targets).all(axis=1).sum() == (raw["finding"] == "todo").sum() == 21
    assert (targets[:, 0] == 1).sum() == raw["finding"].str.contains("COVID-19").sum()
    assert (targets[:, 1] == 1).sum() == raw["finding"].str.contains("ARDS").sum()
    assert "text" in table.fingerprint()


def test_covid_filter_and_misspelt_finding(shared):
    assert set(covid(shared, where={"view": ["PA"]}).table().frame["view"]) == {"PA"}
    with pytest.raises(DataError, match=r"no row has view in \['XX'\]; values there: AP, AP Supine, PA"):
        covid(shared, where={"view": ["XX"]}).table()
    with pytest.raises(DataError, match=r"no row has 'Covid'; names there: .*COVID-19"):
        covid(shared, labels={"COVID-19": {"column": "finding", "has": "Covid"}}).table()


@pytest.fixture
def chexpert(tmp_path):
    (tmp_path / "train.csv").write_text(CHEXPERT)
    touch(tmp_path, [line.split(",")[0] for line in CHEXPERT.splitlines()[1:]])
    return tmp_path


def test_chexpert_header(chexpert):
    options = OmegaConf.create(
        {
            "file": "train.csv",
            "name": "chexpert",
            "columns": CHEXPERT_COLUMNS,
            "labels": ["No Finding", "Cardiomegaly", "Pleural Effusion"],
            "recode": {"sex": {"Female": "F", "Male": "M"}, "split": {"valid": "val"}},
        }
    )
    table = Manifest(chexpert, **options).table()
    frame = table.frame
    assert frame["patient"].tolist() == ["patient00001", "patient00002", "patient00002", "patient64541"]
    assert frame["study"].iloc[1] == "patient00002/study2"
    assert frame["split"].tolist() == ["train", "train", "train", "val"]
    assert frame["view"].tolist() == ["AP", "PA", "", "AP"]
    np.testing.assert_array_equal(table.targets()[1], np.float32([np.nan, -1, 1]))
    frontal = Manifest(chexpert, **options, where={"Frontal/Lateral": ["Frontal"]}).table()
    assert len(frontal) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": CHEXPERT_COLUMNS | {"age": "Years"}}, "column 'Years' is missing; found 'Path'"),
        ({"columns": CHEXPERT_COLUMNS | {"adge": "Age"}}, "unknown key 'adge'; known keys: image, patient"),
        ({"columns": {"image": "Path"}}, "does not say what the patient is"),
        ({"columns": CHEXPERT_COLUMNS | {"patient": {"column": "Path", "pattern": "person"}}}, "row 1, .*does not fit"),
        ({"columns": CHEXPERT_COLUMNS | {"view": "{AP/PA}"}}, "row 3: a field of the template"),
        ({"labels": ["Sex"]}, "row 1, column 'Sex': found 'Female', expected a number"),
        ({"labels": ["Mass"]}, "column 'Mass' is missing"),
        ({"labels": {"Female": {"colum": "Sex"}}}, "unknown key 'colum'"),
        ({"labels": ["Age"]}, "row 1.*label 'Age' is 68"),
        ({"recode": {}}, "row 4, .*split is 'valid'"),
        (
            {"columns": {k: v for k, v in CHEXPERT_COLUMNS.items() if k != "split"}, "recode": {}},
            "no split; map columns.split",
        ),
        ({"split": {"by": "image", "fractions": {"train": 1}}}, "expected by: patient"),
        ({"split": {"by": "patient", "fraction": {}}}, "unknown key 'fraction'"),
        ({"split": "split.csv"}, "split.csv: no such file"),
        ({"file": "valid.csv"}, "valid.csv: no such file.*train.csv"),
    ],
)
def test_bad_configs_are_explained(chexpert, change, words):
    base = {
        "file": "train.csv",
        "name": "chexpert",
        "columns": CHEXPERT_COLUMNS,
        "labels": ["No Finding"],
        "recode": {"split": {"valid": "val"}},
    }
    with pytest.raises(DataError, match=words):
        Manifest(chexpert, **(base | change)).table()


def test_split_file_must_list_everybody(chexpert):
    base = {
        "file": "train.csv",
        "name": "c",
        "columns": CHEXPERT_COLUMNS,
        "labels": ["No Finding"],
        "split": "split.csv",
    }
    (chexpert / "split.csv").write_text("patient,split\npatient00001,train\npatient00002,test\n")
    with pytest.raises(DataError, match=r"patient 'patient64541' of .* is not listed"):
        Manifest(chexpert, **base).table()
    (chexpert / "split.csv").write_text("patient,split\npatient00001,train\npatient00002,test\npatient64541,val\n")
    table = Manifest(chexpert, **base).table()
    assert table.frame["split"].tolist() == ["train", "test", "test", "val"]
    assert table.fingerprint()["split_lists"] == table.split_lists != ""


def test_parquet_and_subset(chexpert):
    pd.read_csv(chexpert / "train.csv").to_parquet(chexpert / "train.parquet")
    (chexpert / "CheXpert/train/patient00001/study1/view1_frontal.jpg").unlink()
    base = {"name": "c", "columns": CHEXPERT_COLUMNS, "labels": ["Cardiomegaly"], "recode": {"split": {"valid": "val"}}}
    with pytest.raises(DataError, match=r"row 1, image 'CheXpert/train/patient00001.*not below the data root"):
        Manifest(chexpert, file="train.parquet", **base).table()
    one, two = (Manifest(chexpert, file=f"train.{kind}", subset=True, **base).table() for kind in ("csv", "parquet"))
    assert len(one) == 3
    assert "3 of 4" in one.notes[0]
    assert one.fingerprint() == two.fingerprint()


def vindr(root, **options):
    boxes = {"label": "class_name", "corners": ["x_min", "y_min", "x_max", "y_max"], "size": [2000, 2000]}
    base = {
        "file": "train.csv",
        "name": "vindr",
        "columns": {"image": "{image_id}.dicom", "patient": "image_id"},
        "labels": {name: {"column": "class_name", "has": name} for name in ("Cardiomegaly", "Nodule/Mass")},
        "split": {"by": "patient", "fractions": {"train": 1.0}},
        "boxes": boxes | {"other_labels": "drop"},
        "merge_rows": True,
    }
    return Manifest(root, **(base | options)), boxes


@pytest.fixture
def vindr_root(tmp_path):
    (tmp_path / "train.csv").write_text(VINDR)
    touch(tmp_path, [f"{name}.dicom" for name in "abc"])
    return tmp_path


def test_vindr_rows_are_merged_with_their_boxes(vindr_root):
    table = vindr(vindr_root)[0].table()
    assert table.frame["image"].tolist() == ["a.dicom", "b.dicom", "c.dicom"]
    assert table.targets().tolist() == [[0, 0], [1, 1], [0, 0]]
    assert [len(boxes) for boxes in table.frame["boxes"]] == [0, 3, 0]
    assert table.frame["boxes"][1][1] == ("Nodule/Mass", 0.05, 0.1, 0.15, 0.2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"other_labels": "error"}, r"row 5: a box is labelled 'Aortic enlargement'"),
        ({"size": [1000, 1000]}, r"row 2, .*Cardiomegaly box .* impossible"),
        ({"size": [0, 1000]}, "expected width and height"),
        ({"xywh": ["x_min"]}, "either corners"),
        ({"corners": ["x_min", "y_min", "x_max", "rad_id"]}, "expected four numbers or none"),
        ({"label": "finding"}, "column 'finding' is missing"),
        ({"image": "{image_id}.png"}, "belongs to an image that is not in the manifest"),
        ({"lable": "x"}, "unknown key 'lable'"),
    ],
)
def test_bad_boxes_are_explained(vindr_root, change, words):
    _, boxes = vindr(vindr_root)
    with pytest.raises(DataError, match=words):
        vindr(vindr_root, boxes=boxes | {"other_labels": "drop"} | change)[0].table()


def test_rows_of_one_image_must_agree(vindr_root):
    with pytest.raises(DataError, match=r"row 3: image 'b.dicom' has view 'R2' here and 'R1' before"):
        vindr(vindr_root, columns={"image": "{image_id}.dicom", "patient": "image_id", "view": "rad_id"})[0].table()


def test_rsna_corner_and_size(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "patientId,x,y,width,height,Target\na,,,,,0\nb,256,512,128,256,1\nb,0,0,1024,1024,1\n"
    )
    touch(tmp_path, ["a.dcm", "b.dcm"])
    source = Manifest(
        tmp_path,
        file="labels.csv",
        name="rsna",
        columns={"image": "{patientId}.dcm", "patient": "patientId"},
        labels={"Lung Opacity": "Target"},
        split={"by": "patient", "fractions": {"train": 1.0}},
        boxes={"constant_label": "Lung Opacity", "xywh": ["x", "y", "width", "height"], "size": [1024, 1024]},
        merge_rows=True,
    )
    table = source.table()
    assert table.targets()[:, 0].tolist() == [0, 1]
    assert table.frame["boxes"][1] == [("Lung Opacity", 0.25, 0.5, 0.375, 0.75), ("Lung Opacity", 0, 0, 1, 1)]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "cannot be read as a table"), (b"a,b\n1,2,3,4\n\xff", "cannot be read"), (b"Path,Path\n1,2\n", "appears twice"),
     (b"Path,Sex\n", "no row"), (b"Path,Sex\na,b,c\nd,e,f\n", "more fields than its header")],
)  # fmt: skip
def test_broken_files(tmp_path, content, words):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        Manifest(
            tmp_path, "t.csv", "t", {"image": "Path", "patient": "Path"}, {"x": {"constant": 1}}, split=BY_PATIENT
        ).table()


def test_windows_that_are_wrong_may_be_ignored():
    """The remedy that a refused window names; it changes pixels, so it is part of a store's identity."""
    plain, without = (Manifest(".", "t.csv", "x", {}, [], **how).pixel_identity() for how in ({}, {"window": "ignore"}))
    assert plain["window"] == "file"
    assert without == {**plain, "window": "ignore"}

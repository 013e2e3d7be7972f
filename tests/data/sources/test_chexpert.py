"""Is CheXpert read rightly: paths of both releases, views, doubt, splits, reports, and every fault by file and row?"""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_sets import write_chexpert

from cxrvl.data.sources.base import Source
from cxrvl.data.sources.chexpert import LABEL_MAP, CheXpert
from cxrvl.errors import DataError

BY_PATIENT = {"by": "patient", "fractions": {"train": 0.5, "val": 0.2, "test": 0.3}, "seed": 3}


@pytest.fixture(params=["CheXpert-v1.0", "CheXpert-v1.0-small"])
def toy(request, tmp_path):
    """A tiny copy of the layout, with the paths of either release."""
    return write_chexpert(tmp_path / request.param, request.param)


def change(root, old, new, name="train.csv"):
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))


def test_rows_views_and_values(toy):
    source = CheXpert(toy)
    table = source.table()
    frame = table.frame
    assert isinstance(source, Source)
    assert pickle.loads(pickle.dumps(source)).table().fingerprint() == table.fingerprint()
    assert frame["image"].iloc[0] == "train/patient00001/study1/view1_frontal.jpg"
    assert frame["patient"].tolist() == [f"patient{n}" for n in ("00001", "00002", "00002", "00002", "00003", "64541")]
    assert frame["study"].iloc[2] == frame["study"].iloc[3] == "patient00002/study1"
    assert frame["view"].tolist() == ["AP", "PA", "Frontal", "L", "AP", "AP"]
    assert frame["sex"].tolist() == ["F", "F", "F", "F", "", "M"]
    assert frame["age"].tolist() == [68, 87, 83, 83, 41, 73]
    assert (frame["bytes"] == 5).all()
    assert set(table.labels) == set(LABEL_MAP.values())
    assert "Pleural Effusion" not in table.labels
    assert frame["Effusion"].iloc[1] == frame["Cardiomegaly"].iloc[1] == -1
    assert frame["Support Devices"].iloc[0] == 1
    assert frame["Pneumothorax"].iloc[0] == 0
    assert np.isnan(frame["Edema"].iloc[0])


@pytest.mark.parametrize(
    ("uncertain", "edema", "cardiomegaly"),
    [
        ("keep", -1, -1),
        ("positive", 1, 1),
        ("negative", 0, 0),
        ("missing", np.nan, np.nan),
        ({"Edema": "positive"}, 1, -1),
    ],
)
def test_doubt_is_written_as_asked(tmp_path, uncertain, edema, cardiomegaly):
    frame = (
        CheXpert(write_chexpert(tmp_path / "c", "CheXpert-v1.0"), uncertain=uncertain, check_files=False).table().frame
    )
    np.testing.assert_array_equal(frame[["Edema", "Cardiomegaly"]].iloc[1], [edema, cardiomegaly])
    assert frame["Fracture"].iloc[1] == 1


def test_official_validation_is_test_or_validation(toy):
    as_test = CheXpert(toy, cut_fraction=0.6).table()
    assert as_test.frame["split"].iloc[-1] == "test"
    assert set(as_test.frame["split"].iloc[:-1]) == {"train", "val"}
    assert as_test.split_name == "chexpert valid_as_test, val 0.6 of train (6 of 223,648 images)"
    as_val = CheXpert(toy, split="valid_as_val", cut_fraction=0.6).table()
    assert as_val.frame["split"].iloc[-1] == "val"
    assert (as_val.frame["split"] == as_test.frame["split"].replace({"val": "test", "test": "val"})).all()


def test_new_split_needs_no_valid_csv(toy):
    (toy / "valid.csv").unlink()
    table = CheXpert(toy, split=BY_PATIENT).table()
    assert len(table) == 5
    assert table.frame.groupby("patient")["split"].nunique().max() == 1
    with pytest.raises(DataError, match=r"valid.csv: no such file; .*does without valid.csv"):
        CheXpert(toy).table()


def test_own_split_file_views_and_labels(toy):
    (toy / "mine.csv").write_text(
        "patient,split\npatient00001,val\npatient00002,train\npatient00003,train\npatient64541,test\n"
    )
    source = CheXpert(toy, split="mine.csv", views=["AP", "PA"], labels=["Edema", "Effusion"])
    table = source.table()
    assert table.labels == ("Edema", "Effusion")
    assert table.frame["split"].tolist() == ["val", "train", "train", "test"]
    assert table.split_lists


def test_reports_of_chexpert_plus(toy):
    (toy / "plus.csv").write_text(
        ",path_to_image,section_narrative,section_clinical_history,section_history,section_findings,section_impression\n"
        '0,train/patient00001/study1/view1_frontal.jpg,,Cough.,,"Clear lungs,\nno effusion.",Normal.\n'
        "1,train/patient00002/study2/view1_frontal.png,Portable film.,,Pain.,,\n"
        "2,train/patient99999/study1/view1_frontal.jpg,,,,,Somebody else.\n"
    )
    table = CheXpert(toy, reports="plus.csv").table()
    frame = table.frame
    assert frame["findings"].iloc[0] == "Clear lungs,\nno effusion."
    assert frame["impression"].tolist() == ["Normal.", "", "", "", "", ""]
    assert frame["indication"].tolist()[:2] == ["Cough.", "Pain."]
    assert frame["report"].iloc[1] == "Portable film."
    assert table.notes == ("plus.csv: 4 of 6 images have no report text",)
    assert "text" in table.fingerprint()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path_to_image,section_findings\n", "column 'section_impression' is missing"),
        (
            "path_to_image,section_findings,section_impression\nx.jpg,a,b\n",
            "plus.csv, column 'path_to_image': it knows none",
        ),
        (
            "path_to_image,section_findings,section_impression\nx.jpg,a,b\nx.png,a,b\n",
            "plus.csv, row 2: .*listed twice",
        ),
    ],
)
def test_bad_report_tables(toy, content, words):
    (toy / "plus.csv").write_text(content)
    with pytest.raises(DataError, match=words):
        CheXpert(toy, reports="plus.csv").table()


def test_other_endings_and_subset(toy):
    for path in toy.rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    assert CheXpert(toy, image_suffix=".png").table().frame["image"].str.endswith(".png").all()
    with pytest.raises(DataError, match=r"row 1, image 'train/patient00001/.*not below the data root"):
        CheXpert(toy).table()
    next(toy.rglob("patient00003/**/*.png")).unlink()
    table = CheXpert(toy, image_suffix=".png", subset=True).table()
    assert len(table) == 5
    assert table.notes[0].startswith("subset: 5 of 6 images")
    with pytest.raises(DataError, match="none of its 6 images is below the data root"):
        CheXpert(toy, subset=True).table()


def test_unchecked_files_have_no_fingerprint(toy):
    table = CheXpert(toy, image_suffix=".tif", check_files=False).table()
    with pytest.raises(DataError, match="check_files=False"):
        table.fingerprint()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "/train/patient00002/study2/view1_frontal.jpg",
            "/../../etc/passwd",
            r"train.csv, row 2, column 'Path': found",
        ),
        (
            "/train/patient00003/study1/view1_frontal.jpg",
            "/train/patient00003/study1",
            "train.csv, row 5, column 'Path'",
        ),
        ("/train/patient00003", "/valid/patient00003", "train.csv, row 5, column 'Path'"),
        (",0.0,,,,1.0", ",2,,,,1.0", "train.csv, row 1, column 'Pneumothorax': found '2', expected 1"),
        ("Frontal,PA", "Oblique,PA", "train.csv, row 2, column 'Frontal/Lateral': found 'Oblique'"),
        ("Unknown,41", "Unknown,old", "row 5, .*age is 'old', expected a number"),
        ("Unknown,41", "Unknown,141", "row 5, .*age 141 years"),
        ("Unknown,41", "Cat,41", "train.csv, row 5, column 'Sex': found 'Cat'"),
        ("patient00002/study1/view2_lateral", "patient00002/study1/view1_frontal", "row 4, .*already used in row 3"),
        (",Lung Lesion,", ",Lung Leison,", "column 'Lung Lesion' is missing"),
        (",Lung Lesion,", ",Edema,", "train.csv: column 'Edema' appears twice"),
    ],
)
def test_faults_name_file_and_row(tmp_path, old, new, words):
    root = write_chexpert(tmp_path / "CheXpert-v1.0", "CheXpert-v1.0")
    change(root, old, new)
    with pytest.raises(DataError, match=words):
        CheXpert(root).table()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "official"}, "split is 'official', expected valid_as_test, valid_as_val"),
        ({"cut_fraction": 1.5}, "cut_fraction is 1.5"),
        ({"uncertain": "positiv"}, "did you mean 'positive'"),
        ({"uncertain": {"Pleural Effusion": "positive"}}, "did you mean 'Effusion'"),
        ({"label_map": {"Edema": "Oedema"}}, "label_map points to 'Oedema'; did you mean 'Edema'"),
        ({"label_map": {"Odema": "Edema"}}, "column 'Odema' is missing"),
        ({"labels": ["Masses"]}, "it has no label 'Masses'"),
        ({"views": ["XX"]}, r"no image has the view XX; views there: AP \(3\), .*Frontal \(1\)"),
        ({"reports": "no.csv"}, "no.csv: no such file.*data.source.reports=null"),
    ],
)
def test_bad_options(tmp_path, options, words):
    root = write_chexpert(tmp_path / "CheXpert-v1.0", "CheXpert-v1.0")
    with pytest.raises(DataError, match=words):
        CheXpert(root, **options).table()


def test_the_folder_above_is_named(toy):
    with pytest.raises(DataError, match=rf"train.csv lies in {toy.name}; set data.root to "):
        CheXpert(toy.parent).table()


def test_the_full_table(tmp_path):
    """The real train.csv, as the package torchxrayvision ships it."""
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("torchxrayvision is not installed")
    full = Path(package.origin).parent / "data" / "chexpert_train.csv.gz"
    (tmp_path / "train.csv.gz").symlink_to(full)
    table = CheXpert(tmp_path, split=BY_PATIENT, check_files=False).table()
    assert len(table) == 223_414
    assert table.frame["patient"].nunique() == 64_540
    assert set(table.frame["view"]) == {"AP", "PA", "L", "Frontal"}

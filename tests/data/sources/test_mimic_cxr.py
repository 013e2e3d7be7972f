"""Is MIMIC-CXR read rightly: both layouts, official split, labels, reports from three places, and every fault by file and row?"""

import pickle
import zipfile

import numpy as np
import pytest
from tiny_sets import MIMIC_STUDIES, write_mimic

from cxrvl.data.sources.base import Source
from cxrvl.data.sources.mimic_cxr import TABLES, MimicCXR
from cxrvl.errors import DataError

REPORTS = {
    "50414267": "FINAL REPORT\n INDICATION: ___F with cough\n\n FINDINGS:  Lungs are clear.\n\n IMPRESSION:  No pneumonia.\n",
    "57375967": "IMPRESSION: Stable mild edema.",
    "50771383": "Portable film of the chest shows no change.",
}


@pytest.fixture(params=["jpg", "dicom"])
def layout(request):
    return request.param


@pytest.fixture
def toy(tmp_path):
    return write_mimic(tmp_path, "jpg")


def places():
    return {
        f"files/p{subject[:2]}/p{subject}/s{study}.txt": REPORTS[study]
        for subject, study in MIMIC_STUDIES
        if study in REPORTS
    }


def in_folder(root):
    for place, text in places().items():
        (root / place).write_text(text)
    return "."


def in_folder_of_its_own(root):
    for place, text in places().items():
        (root / "texts" / place).parent.mkdir(parents=True, exist_ok=True)
        (root / "texts" / place).write_text(text)
    return "texts"


def in_zip(root):
    with zipfile.ZipFile(root / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for place, text in places().items():
            archive.writestr(place, text)
    return "mimic-cxr-reports.zip"


def test_rows_split_and_labels(tmp_path, layout):
    source = MimicCXR(write_mimic(tmp_path, layout), layout=layout)
    table = source.table()
    frame = table.frame
    assert isinstance(source, Source)
    assert pickle.loads(pickle.dumps(source)).table().fingerprint() == table.fingerprint()
    ending = {"jpg": "jpg", "dicom": "dcm"}[layout]
    assert frame["image"].iloc[0] == f"files/p10/p10000032/s50414267/aaaa-01.{ending}"
    assert frame["split"].tolist() == ["train", "train", "val", "test", "test"]
    assert frame["view"].tolist() == ["PA", "L", "AP", "L", ""]
    assert frame["position"].tolist() == ["PA", "LATERAL", "AP", "LL", ""]
    assert frame["patient"].iloc[-1] == "p11000898"
    assert frame["study"].iloc[1] == "s50414267"
    assert (frame["height"].iloc[0], frame["width"].iloc[0]) == (3056, 2544)
    assert (frame["bytes"] == 2).all()
    assert frame["No Finding"].iloc[:2].tolist() == [1, 1]
    assert frame["Edema"].iloc[2] == -1
    assert frame["Effusion"].iloc[2] == 1
    assert frame["Atelectasis"].iloc[2] == 0
    assert np.isnan(table.targets()[4]).all()
    name = TABLES["chexpert"] + (".gz" if layout == "dicom" else "")
    assert table.notes == (f"{name}: 1 studies (1 images) are not listed and have no labels",)
    assert table.split_name == "mimic_cxr official (5 of 377,110 images)"
    assert len(table.split_lists) == 64


def test_choices(toy):
    table = MimicCXR(toy, labels_version="negbio", uncertain="negative", views=["AP", "PA"], labels=["Edema"]).table()
    assert table.frame["image"].str.rsplit("/").str[-1].tolist() == ["aaaa-01.jpg", "bbbb-01.jpg"]
    assert table.frame["Edema"].tolist()[1] == 1
    settled = MimicCXR(toy, uncertain="negative", labels=["Edema"]).table()
    assert settled.frame["Edema"].iloc[2] == 0
    drawn = MimicCXR(toy, split={"by": "patient", "fractions": {"train": 0.5, "test": 0.5}, "seed": 1}).table()
    assert drawn.split_name == "mimic_cxr: by patient 0.5/0/0.5 seed 1"


def test_tables_elsewhere(toy):
    (toy / "tables").mkdir()
    for name in TABLES.values():
        (toy / name).rename(toy / "tables" / name)
    with pytest.raises(DataError, match=r"metadata.csv: no such file; .*data.source.tables is their folder"):
        MimicCXR(toy).table()
    assert len(MimicCXR(toy, tables="tables").table()) == len(MimicCXR(toy, tables=str(toy / "tables")).table()) == 5


@pytest.mark.parametrize("put", [in_folder, in_folder_of_its_own, in_zip])
def test_reports(toy, put):
    table = MimicCXR(toy, reports=put(toy)).table()
    frame = table.frame
    assert frame["findings"].tolist() == ["Lungs are clear.", "Lungs are clear.", "", "", ""]
    assert frame["impression"].tolist() == ["No pneumonia.", "No pneumonia.", "Stable mild edema.", "", ""]
    assert frame["indication"].iloc[0] == "___F with cough"
    assert frame["report"].tolist() == ["", "", "", REPORTS["50771383"], ""]
    assert table.notes[-1].endswith("1 of 4 studies (1 images) have no report text")
    assert len(table) == 5
    assert "text" in table.fingerprint()


def test_sectioned_csv(toy):
    (toy / "sectioned.csv").write_text(
        'study,impression,findings,last_paragraph,comparison\ns50414267,No pneumonia.,"Lungs are\n clear.",,None.\n'
        "s50771383,,,No change.,\ns99999999,Somebody else.,,,\n"
    )
    table = MimicCXR(toy, reports="sectioned.csv").table()
    assert table.frame["findings"].iloc[1] == "Lungs are\n clear."
    assert table.frame["report"].iloc[3] == "No change."
    assert table.frame["impression"].iloc[2] == ""
    assert table.notes[-1] == "sectioned.csv: 2 of 4 studies (2 images) have no report text"


def broken_zip(root):
    (root / "r.zip").write_bytes(b"PK\x03\x04 no zip")
    return "r.zip"


def cut_zip(root):
    name = in_zip(root)
    raw = (root / name).read_bytes()
    start = raw.index(b"p10000032/s50414267.txt") + 60
    (root / name).write_bytes(raw[:start] + bytes(40) + raw[start + 40 :])
    return name


def cp1252(root):
    name = in_folder(root)
    path = root / next(iter(places()))
    path.write_bytes("FINDINGS: naïve".encode("cp1252"))
    return name


def huge(root):
    name = in_folder(root)
    (root / next(iter(places()))).write_text("x" * 1_000_001)
    return name


def folder_as_report(root):
    (root / next(iter(places()))).mkdir()
    return "."


def empty_folder(root):
    (root / "none").mkdir()
    return "none"


def no_sections(root):
    (root / "s.csv").write_text("study,text\ns50414267,Clear.\n")
    return "s.csv"


def odd_study(root):
    (root / "s.csv").write_text("study,findings\ns50414267,Clear.\n../../etc,Clear.\n")
    return "s.csv"


def study_twice(root):
    (root / "s.csv").write_text("study,findings\ns50414267,Clear.\n50414267,Clear.\n")
    return "s.csv"


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (lambda root: "nowhere", "nowhere: no such folder or file; data.source.reports expects"),
        (empty_folder, r"none: it holds none of the reports of 4 studies \(looked for p10/p10000032/s50414267.txt"),
        (broken_zip, "r.zip: cannot be read as a zip"),
        (cut_zip, "mimic-cxr-reports.zip: cannot be read as a zip"),
        (cp1252, "report p10/p10000032/s50414267.txt: not UTF-8 at byte 12 .*cp1252"),
        (huge, "report p10/p10000032/s50414267.txt: it is larger than 1,000,000 bytes"),
        (folder_as_report, "report p10/p10000032/s50414267.txt: cannot be read"),
        (no_sections, "s.csv: no column of sections; found 'study', 'text'"),
        (odd_study, "s.csv, row 2, column 'study': found '../../etc', expected a study"),
        (study_twice, "s.csv, row 2, column 'study': .*every study once"),
    ],
)
def test_bad_reports(toy, put, words):
    with pytest.raises(DataError, match=words):
        MimicCXR(toy, reports=put(toy)).table()


@pytest.mark.parametrize(
    ("kind", "old", "new", "words"),
    [
        ("metadata", "bbbb-01", "../../etc/passwd", "row 3, column 'dicom_id': found '../../etc/passwd'"),
        ("metadata", "bbbb-01,10000764", "bbbb-01,../../etc", "row 3, column 'subject_id': found '../../etc'"),
        ("metadata", "10000764", "764", "row 3, column 'subject_id': found '764', expected a number of 8 digits"),
        ("metadata", "bbbb-01", "aaaa-01", "split.csv, row 5, column 'subject_id': .*metadata.csv .row 3. gives"),
        ("metadata", "bbbb-01", "bbbb-09", "split.csv: image 'bbbb-09' of .*metadata.csv .row 3. is not listed"),
        ("metadata", "ViewPosition", "View", "column 'ViewPosition' is missing"),
        ("metadata", "StudyDate", "Rows", "column 'Rows' appears twice"),
        ("metadata", ",3056,", ",tall,", "metadata.csv, row 1, .*height is 'tall', expected a number"),
        ("split", "validate", "valid", "split.csv, row 3, column 'split': found 'valid', expected train, validate, test"),
        ("split", "aaaa-02", "aaaa-01", "split.csv, row 5, column 'dicom_id': .*every image once"),
        ("split", "57375967,10000764", "57375967,10000765", "split.csv, row 3, column 'subject_id': found '10000765'"),
        ("split", "54205396,11000898,test", "54205396,11000898,train", "row 4, .*'p11000898' has images in train and test"),
        ("chexpert", "-1.0", "2", "chexpert.csv, row 2, column 'Edema': found '2', expected 1"),
        ("chexpert", "11000898,50771383", "11000898,57375967", "chexpert.csv, row 3, column 'study_id': .*every study once"),
        ("chexpert", ",Fracture,", ",Fractur,", "column 'Fracture' is missing"),
    ],
)  # fmt: skip
def test_faults_name_file_and_row(toy, kind, old, new, words):
    path = toy / TABLES[kind]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        MimicCXR(toy).table()


def test_labels_of_another_release(toy):
    path = toy / TABLES["chexpert"]
    path.write_text("\n".join(line.replace(",5", ",9") for line in path.read_text().splitlines()) + "\n")
    with pytest.raises(DataError, match="it lists none of the 4 studies"):
        MimicCXR(toy).table()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "png"}, "layout is 'png', expected one of jpg, dicom"),
        ({"labels_version": "v2020"}, "labels_version is 'v2020', expected one of chexpert, negbio"),
        ({"layout": "dicom"}, r"row 1, image 'files/p10/p10000032/s50414267/aaaa-01.dcm'.*not below the data root"),
        ({"layout": "dicom", "subset": True}, "none of its 5 images is below"),
        ({"split": "mine.csv"}, "mine.csv: no such file"),
        ({"uncertain": "maybe"}, "uncertain is 'maybe'"),
    ],
)
def test_bad_options(toy, options, words):
    with pytest.raises(DataError, match=words):
        MimicCXR(toy, **options).table()


def test_absent_and_linked_images(toy, tmp_path_factory):
    image = toy / "files/p10/p10000764/s57375967/bbbb-01.jpg"
    image.unlink()
    with pytest.raises(DataError, match=r"metadata.csv, row 3, image .*bbbb-01.jpg'.*not below the data root"):
        MimicCXR(toy).table()
    table = MimicCXR(toy, subset=True).table()
    assert len(table) == 4
    assert "subset: 4 of 5" in table.notes[-1]
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.jpg"
    elsewhere.write_bytes(b"x")
    image.symlink_to(elsewhere)
    with pytest.raises(DataError, match=r"row 3, .*outside the data root"):
        MimicCXR(toy).table()
    image.unlink()
    image.mkdir()
    with pytest.raises(DataError, match=r"row 3, .*folder"):
        MimicCXR(toy).table()

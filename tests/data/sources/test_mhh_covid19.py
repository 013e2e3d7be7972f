"""Is the Hannover repository read rightly: its own layout, the real copy, and every fault by row?"""

import pandas as pd
import pytest
from made_images import write_images, write_rows

from cxrvl.data.sources.mhh_covid19 import MHHCovid19
from cxrvl.errors import DataError

HEADER = (
    "patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,icu_release_offset,death_offset,"
    "modality,projection,crp_offset,crp_val"
)
ROWS = ["aa11,0b1c,f,,,,0,,,,CR,pa,0.0,3.0", "bb22,0b1d,m,47,,,-2,0.0,4.0,,DX,ap,,", "bb22,0b1e,m,47,,,,,,,CR,ap,,"]


@pytest.fixture
def repository(tmp_path):
    write_rows(tmp_path / "data.csv", HEADER, ROWS)
    write_images(tmp_path, [f"png/{row.split(',')[1]}.png" for row in ROWS])
    return tmp_path


def test_the_repository_as_cloned(repository):
    table = MHHCovid19(repository).table()
    frame = table.frame
    assert frame["image"].tolist() == ["png/0b1c.png", "png/0b1d.png", "png/0b1e.png"]
    assert frame["patient"].tolist() == ["aa11", "bb22", "bb22"]
    assert frame["view"].tolist() == ["PA", "AP", "AP"]
    assert frame["sex"].tolist() == ["F", "M", "M"]
    assert table.labels == ("COVID-19",)
    assert (table.targets() == 1).all()
    assert MHHCovid19(repository, views=["AP"]).table().frame["patient"].unique().tolist() == ["bb22"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("patient_id", "patient", r"data.csv: column 'patient_id' is missing"),
        ("image_id", "sex", r"column 'sex' appears twice"),
        ("f,,,,0", "x,,,,0", r"row 1, column 'sex': found 'x', expected one of f, m"),
        ("0b1d", "../../etc", r"row 2, image '../../etc': the image key '../../etc' has an empty, '.' or '..' part"),
        ("0b1d", "png", r"row 2, image 'png': the image is a folder"),
        ("0b1d", "0b1f", r"row 2, image '0b1f': the file is not below the data root"),
        ("0b1d", "0b1c", r"row 2, image 'png/0b1c.png': the key is already used in row 1"),
        ("m,47,,,-2", "m,470,,,-2", r"row 2, .*: age 470 years"),
        ("aa11", "", r"row 1, .*: no patient"),
    ],
)
def test_faults_name_file_and_row(repository, old, new, words):
    path = repository / "data.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        MHHCovid19(repository).table()


def test_foreign_bytes_and_missing_table_are_one_clear_error(repository):
    path = repository / "data.csv"
    path.write_bytes(path.read_bytes().replace(b"aa11", b"M\xfcller"))
    with pytest.raises(DataError, match=r"data.csv, line 2: .*cp1252"):
        MHHCovid19(repository).table()
    path.unlink()
    with pytest.raises(DataError, match=r"data.csv: no such file; mhh_covid19 needs it"):
        MHHCovid19(repository).table()


def test_label_map_reaches_the_table(repository):
    with pytest.raises(DataError, match=r"points to 'COVID19'; did you mean 'COVID-19'"):
        MHHCovid19(repository, label_map={"COVID-19": "COVID19"}).table()


def test_real_copy(shared):
    source = MHHCovid19(shared / "data/mhh_covid19")
    table = source.table()
    raw = pd.read_csv(shared / "data/mhh_covid19/data.csv")
    assert len(table) == 243
    assert table.frame["patient"].nunique() == 71
    assert table.frame["view"].value_counts().to_dict() == {"AP": 194, "PA": 49}
    assert [key.split("/")[1] for key in table.frame["image"]] == (raw["image_id"] + ".jpg").tolist()
    assert table.frame.groupby("patient")["split"].nunique().max() == 1
    for key in table.frame["image"][:3]:
        image = source.read(key)
        assert min(image.shape) == 224
        assert 0 <= image.min() < image.max() <= 1

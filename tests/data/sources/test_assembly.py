"""Do the last steps that sources share keep rows, values and splits together, and name what does not fit?"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_images import write_images

from cxrvl.data.sources.assembly import BY_PATIENT, assemble, recode
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.split_option import RowSplit
from cxrvl.errors import DataError

MAP = {"effusion": "Effusion", "tumour": "Mass", "other": None}


@pytest.fixture
def parts(tmp_path):
    """Four images of three patients; the index has the gaps of a filtered file."""
    write_images(tmp_path, [f"{i}.png" for i in range(4)])
    index = [0, 2, 5, 9]
    frame = pd.DataFrame(
        {"image": [f"{i}.png" for i in range(4)], "patient": list("abbc"), "view": ["PA", "AP", "PA", "L"]}, index=index
    )
    written = pd.DataFrame({"effusion": [1, 0, -1, np.nan], "tumour": 0.0, "other": 1.0}, index=index)
    return FileSource(tmp_path, "mine"), frame, written


def test_rows_and_labels_stay_together(parts):
    source, frame, written = parts
    table = assemble(source, frame, written, MAP, origin="t.csv", labels=["Mass", "Effusion"], views=["PA", "L"])
    assert table.labels == ("Mass", "Effusion")
    assert table.frame["image"].tolist() == ["0.png", "2.png", "3.png"]
    np.testing.assert_array_equal(table.targets(), [[0, 1], [0, -1], [0, np.nan]])
    assert set(table.frame["dataset"]) == {"mine"}
    assert table.split_name == "mine: stratified by patient 0.7/0.1/0.2 seed 0"


def test_a_published_split_goes_through_the_same_filters(parts):
    source, frame, written = parts
    published = RowSplit(np.array(["train", "test", "test", "val"], dtype=object), "mine: published", "abc")
    table = assemble(source, frame, written, MAP, origin="t.csv", split=published, views=["AP", "L"])
    assert table.frame["split"].tolist() == ["test", "val"]
    assert (table.split_name, table.split_lists) == ("mine: published", "abc")
    leaking = RowSplit(np.array(["train", "train", "test", "val"], dtype=object), "mine: published", "")
    with pytest.raises(DataError, match=r"t.csv, row 3, .*patient 'b' has images in train and test"):
        assemble(source, frame, written, MAP, origin="t.csv", split=leaking)


def test_a_split_file(parts):
    source, frame, written = parts
    (source.root / "split.csv").write_text("patient,split\na,train\nb,val\nc,test\n")
    table = assemble(source, frame, written, MAP, origin="t.csv", split="split.csv")
    assert table.frame["split"].tolist() == ["train", "val", "val", "test"]
    assert table.split_lists


def test_faults_keep_the_files_own_row_numbers(parts):
    source, frame, written = parts
    with pytest.raises(DataError, match=r"t.csv, row 10, column 'tumour': found .*2.*, expected 1 \(positive\)"):
        assemble(source, frame, written.assign(tumour=[0, 0, 0, 2]), MAP, origin="t.csv")
    with pytest.raises(DataError, match=r"t.csv: no image has the view LL; views there: PA \(2\), AP \(1\), L \(1\)"):
        assemble(source, frame, written, MAP, origin="t.csv", views=["LL"])
    (source.root / "2.png").unlink()
    with pytest.raises(DataError, match=r"t.csv, row 6, image '2.png': the file is not below the data root"):
        assemble(source, frame, written, MAP, origin="t.csv")
    assert len(assemble(source, frame, written, MAP, origin="t.csv", subset=True)) == 3
    with pytest.raises(DataError, match=r"t.csv: the table has no rows"):
        assemble(source, frame[:0], written[:0], MAP, origin="t.csv")


def test_without_a_map_the_own_names_are_labels(parts):
    source, frame, written = parts
    assert assemble(source, frame, written, None, origin="t.csv").labels == ("effusion", "tumour", "other")


@given(st.lists(st.sampled_from(["m", "f", " m ", "", None]), min_size=1))
def test_recode_translates_and_keeps_what_is_empty(values):
    column = pd.Series(values, name="sex", dtype=object)
    result = recode(column, {"m": "M", "f": "F"}, "t.csv")
    expected = [{"m": "M", "f": "F"}.get((value or "").strip(), "") for value in values]
    assert result.fillna("").tolist() == expected


def test_recode_refuses_the_rest():
    column = pd.Series(["m", "x", "x"], index=[3, 4, 8], name="sex")
    with pytest.raises(
        DataError, match=r"t.csv, row 5, column 'sex': found 'x', expected one of m or .*\(2 such rows\)"
    ):
        recode(column, {"m": "M"}, "t.csv")


def test_the_default_split_is_patient_level():
    assert BY_PATIENT["by"] == "patient"
    assert sum(BY_PATIENT["fractions"].values()) == pytest.approx(1)

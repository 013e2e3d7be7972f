"""Does the report table hold one checked row per report, and nothing that is no report?"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.checks import LONGEST_TEXT
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

NAN = float("nan")


def raw(**columns):
    frame = {
        "dataset": ["d"] * 4,
        "study": ["s0", "s1", "s2", "s3"],
        "patient": ["p0", "p0", "p1", "p2"],
        "split": ["train", "train", "val", "test"],
        "findings": ["Lungs are clear.", None, "Heart is large.", ""],
        "impression": ["Normal.", NAN, "", " "],
        "Edema": [0, 1, -1, None],
    }
    return pd.DataFrame({**frame, **columns})


def build(frame=None, **options):
    return ReportTable.build(raw() if frame is None else frame, ["Edema"], split_name="x", origin="x.csv", **options)


def images(**columns):
    frame = {
        "dataset": ["d"] * 4,
        "image": ["a.png", "b.png", "c.png", "d.png"],
        "study": ["s0", "s0", "s1", "s2"],
        "patient": ["p0", "p0", "p0", "p1"],
        "split": ["train"] * 3 + ["test"],
        "findings": ["Clear.", "Clear.", None, "Effusion."],
        "Edema": [0, -1, None, 1],
    }
    frame = pd.DataFrame({**frame, **columns})
    return StudyTable.build(frame, ["Edema"], split_name="x", root=None, origin="x.csv")


def test_completes_what_is_absent():
    table = build()
    assert table.sections == ("findings", "impression")
    assert table.frame["findings"].tolist() == ["Lungs are clear.", "", "Heart is large.", ""]
    assert table.frame["images"].tolist() == [0] * 4
    np.testing.assert_array_equal(table.targets(), np.float32([[0], [1], [-1], [NAN]]))
    assert table.split("train").tolist() == [0, 1]
    with pytest.raises(DataError, match=r"splits with reports: train \(2 reports\)"):
        table.select(np.array([0, 1])).split("val")


def test_counts_by_split_and_section():
    count = build(raw(images=[2, 1, 0, 3])).count()
    assert count.index.tolist() == ["train", "val", "test", "all"]
    assert count.loc["all"].to_dict() == {
        "reports": 4, "patients": 3, "images": 6, "findings": 2, "impression": 1, "empty": 2,
    }  # fmt: skip
    assert count.loc["train"].tolist() == [2, 1, 3, 1, 1, 1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"study": ["s0", "s1", "s1", "s3"]}, r"x.csv, row 3, study 's1': the study is listed before"),
        ({"study": ["s0", "", "s2", "s3"]}, r"x.csv, row 2, study '': no study"),
        ({"patient": ["p0", "p0", None, "p2"]}, r"row 3, study 's2': no patient"),
        ({"dataset": ["d", "d", "d", ""]}, r"row 4, study 's3': no dataset"),
        ({"patient": ["p0", "p0", "p0", "p2"]}, r"patient 'p0' has images in train and val"),
        ({"split": ["train", "train", "dev", "test"]}, r"row 3, study 's2': split is 'dev'"),
        ({"Edema": [0, 2, 0, 0]}, r"row 2, study 's1': label 'Edema' is 2"),
        ({"Edema": [0, "yes", 0, 0]}, r"row 2, study 's1': Edema is 'yes', expected a number"),
        ({"findings": ["a", 3.5, "b", "c"]}, r"row 2, study 's1': findings is of type float; expected text"),
        ({"findings": ["a", b"b", "b", "c"]}, r"row 2, study 's1': findings is of type bytes"),
        ({"findings": ["a", "b", "c\0", "c"]}, r"row 3, study 's2': findings holds a NUL character"),
        ({"findings": pd.Series(["a", "b", "c", "é\ud800"], dtype=object)}, r"row 4, study 's3': findings holds half of a"),
        ({"impression": ["a", "b" * (LONGEST_TEXT + 1), "c", "c"]}, r"row 2, study 's1': impression has 50,001 characters"),
        ({"images": [1, 1, "two", 1]}, r"row 3, study 's2': images is 'two'"),
    ],
)  # fmt: skip
def test_refuses_by_row(columns, message):
    with pytest.raises(DataError, match=message):
        build(raw(**columns))


def test_refuses_whole_tables():
    with pytest.raises(DataError, match="no column with report text"):
        build(raw().drop(columns=["findings", "impression"]))
    with pytest.raises(DataError, match="column 'Edema' is missing"):
        build(raw().drop(columns="Edema"))
    with pytest.raises(DataError, match="no rows"):
        build(raw().iloc[:0])
    with pytest.raises(DataError, match="cannot be a label"):
        ReportTable.build(raw(), ["findings"], split_name="x", origin="x.csv")
    with pytest.raises(DataError, match=r"no report of 'x' is left \(without text\)"):
        build().select(np.zeros(4, dtype=bool), "without text")


def test_long_text_passes_and_rows_keep_the_files_numbers():
    long = "Lungs are clear. " * 2500
    frame = raw(findings=[long, "", "", ""]).set_axis([3, 5, 8, 9], axis=0)
    assert build(frame).frame["findings"].iloc[0] == long
    frame["Edema"] = [0, 2, 0, 0]
    with pytest.raises(DataError, match="row 6, study 's1'"):
        build(frame)
    assert build(raw().set_axis(list("abcd"), axis=0)).frame.index.tolist() == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["findings", "impression", "Edema", "split", "patient"]))
def test_fingerprint_knows_the_data_and_not_their_order(order, column):
    table = build()
    shuffled = build(raw().iloc[list(order)].reset_index(drop=True))
    assert shuffled.fingerprint() == table.fingerprint()
    other = {"findings": "New.", "impression": "New.", "Edema": 1, "split": "val", "patient": "p9"}[column]
    changed = build(raw(**{column: [*raw()[column].tolist()[:3], other]})).fingerprint()
    part = {"findings": "text", "impression": "text", "Edema": "labels"}.get(column, "split")
    assert {name for name, value in changed.items() if value != table.fingerprint()[name]} == {part}


def test_joins_data_sets():
    other = raw(dataset=["e"] * 4, Mass=[1, 0, 0, 0], notes=["n"] * 4).drop(columns=["Edema", "impression"])
    second = ReportTable.build(other, ["Mass"], split_name="y", origin="y.csv", notes=["dropped 1"])
    joint = ReportTable.concat([build(), second])
    assert joint.labels == ("Edema", "Mass")
    assert joint.sections == ("findings", "impression", "notes")
    assert joint.frame["impression"].tolist()[4:] == [""] * 4
    assert (joint.split_name, joint.notes) == ("x + y", ("dropped 1",))
    assert np.isnan(joint.targets()[4:, 0]).all()
    alone = build()
    assert ReportTable.concat([alone]) is alone
    with pytest.raises(DataError, match="listed before"):
        ReportTable.concat([build(), build()])
    with pytest.raises(DataError, match="no source has the label Hernia"):
        ReportTable.concat([build(), second], ["Hernia"])
    with pytest.raises(DataError, match="no report table to join"):
        ReportTable.concat([])


def test_subsets_and_splits():
    table = build().select(build().frame["findings"] != "", "2 reports without findings left out")
    assert table.frame["study"].tolist() == ["s0", "s2"]
    assert table.notes == ("2 reports without findings left out",)
    assert build().with_split(["val"] * 4, "all val").split("val").size == 4
    with pytest.raises(DataError, match="'p0'"):
        build().with_split(["val", "test", "val", "val"], "leaky")


def test_images_of_a_study_share_one_report():
    table = images().reports()
    assert table.frame["study"].tolist() == ["s0", "s1", "s2"]
    assert table.frame["images"].tolist() == [2, 1, 1]
    assert table.frame["findings"].tolist() == ["Clear.", "", "Effusion."]
    np.testing.assert_array_equal(table.targets()[:, 0], [-1, NAN, 1])


def test_studies_that_disagree_are_refused():
    with pytest.raises(DataError, match=r"study 's0' has one findings in row 1, image 'a.png', and another in row 2"):
        images(findings=["Clear.", "Not clear.", "", ""]).reports()
    with pytest.raises(DataError, match=r"study 's0' has one patient in row 1, .* another in row 4, image 'd.png'"):
        images(study=["s0", "s0", "s1", "s0"]).reports()
    textless = images()
    frame = textless.frame.drop(columns="findings")
    with pytest.raises(DataError, match="images but no report text"):
        StudyTable(frame, textless.labels, "x", None).reports()


def test_the_study_table_checks_text_as_well():
    for bad, message in (("a\0", "NUL"), (7, "type int"), (Path("a"), "type")):
        with pytest.raises(DataError, match=f"row 2, image 'b.png': findings .*{message}"):
            images(findings=["Clear.", bad, "", ""])

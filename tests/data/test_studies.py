"""Does the study table refuse every table that would spoil a result, and name the row? Is its fingerprint right?"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

LABELS = ("Mass", "Edema")


def rows(**columns):
    frame = pd.DataFrame(
        {
            "image": ["a/0.png", "a/1.png", "b/2.png", "b/3.png"],
            "dataset": "toy",
            "patient": ["p0", "p0", "p1", "p2"],
            "split": ["train", "train", "val", "test"],
            "Mass": [1, 0, -1, np.nan],
            "Edema": [0, 1, 1, 0],
        }
    )
    return frame.assign(**columns)


def build(frame, **options):
    settings_ = {"split_name": "toy", "root": None, "origin": "toy.csv"} | options
    return StudyTable.build(frame, LABELS, **settings_)


def test_completes_columns_and_types():
    table = build(rows())
    assert len(table) == 4
    assert table.frame.index.equals(pd.RangeIndex(4))
    assert table.targets().dtype == np.float32
    np.testing.assert_array_equal(table.targets()[:, 0], [1, 0, -1, np.nan])
    assert table.frame["study"].tolist() == table.frame["image"].tolist()
    assert table.frame["boxes"].tolist() == [[], [], [], []]
    assert table.frame["age"].isna().all()
    assert table.split("train").tolist() == [0, 1]
    assert table.split("train").dtype == np.int64


def test_numbers_as_patient_names_become_text():
    table = build(rows(patient=[3, 3, 4, 5]))
    assert table.frame["patient"].tolist() == ["3", "3", "4", "5"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": ["a/0.png", "a/1.png", "a/0.png", "b/3.png"]}, ["row 3", "already used in row 1"]),
        ({"image": ["a/0.png", "../1.png", "b/2.png", "b/3.png"]}, ["row 2", "'../1.png'", "relative"]),
        ({"image": ["a/0.png", "/etc/1.png", "b/2.png", "b/3.png"]}, ["row 2", "absolute"]),
        ({"image": ["a/0.png", "a\\1.png", "b/2.png", "b/3.png"]}, ["row 2", "backslash"]),
        ({"image": ["a/0.png", None, "b/2.png", "b/3.png"]}, ["row 2", "empty"]),
        ({"patient": ["p0", "p0", None, "p2"]}, ["row 3", "no patient"]),
        ({"patient": ["p0", "p1", "p1", "p2"]}, ["row 2", "'p1'", "train and val", "1 of 3 patients", "by: patient"]),
        ({"split": ["train", "train", "valid", "test"]}, ["row 3", "'valid'", "train, val, test"]),
        ({"split": ["train", "train", None, "test"]}, ["row 3", "split is ''"]),
        ({"Mass": [1, 0, 2, 0]}, ["row 3", "'Mass' is 2", "-1 (uncertain)"]),
        ({"Mass": [1, 0, "yes", 0]}, ["row 3", "'yes'", "number"]),
        ({"age": [50, 60, np.inf, 3]}, ["row 3", "age inf"]),
        ({"age": [50, -1, 3, 3]}, ["row 2", "age -1"]),
        ({"age": [50, 411, 3, 3]}, ["row 2", "age 411"]),
        ({"boxes": [[], [("Mass", 0.2, 0.2, 0.2, 0.4)], [], []]}, ["row 2", "Mass box", "x0 < x1"]),
        ({"boxes": [[], [], [("Mass", 0.2, 0.2, 1.2, 0.4)], []]}, ["row 3", "x1=1.2"]),
        ({"boxes": [[], [], [("Mass", np.nan, 0.2, 0.5, 0.4)], []]}, ["row 3", "nan"]),
        ({"boxes": [[], [], [], [("Tumour", 0.2, 0.2, 0.5, 0.4)]]}, ["row 4", "'Tumour'", "Mass, Edema"]),
        ({"boxes": [None, [], [], []]}, ["row 0", "list"]),
    ],
)
def test_refuses_bad_rows_by_name(change, words):
    with pytest.raises(DataError) as caught:
        build(rows(**change))
    for word in words:
        assert word in str(caught.value), str(caught.value)
    if "boxes" not in change or change["boxes"][0] is not None:
        assert "toy.csv" in str(caught.value)


def test_rows_are_named_as_in_the_origin_file():
    frame = rows(Mass=[1, 0, 0, 7])
    with pytest.raises(DataError, match=r"row 24, image 'b/3.png'"):
        build(frame.set_index(pd.Index([0, 5, 9, 23])))


def test_missing_column_lists_those_there():
    with pytest.raises(DataError, match=r"column 'patient' is missing; found 'image'"):
        build(rows().drop(columns="patient"))


def test_no_rows():
    with pytest.raises(DataError, match="no rows"):
        build(rows().iloc[:0])


@pytest.mark.parametrize("labels", [("Mass", "Mass"), ("Mass", "view")])
def test_label_names_must_be_unique_and_free(labels):
    with pytest.raises(DataError, match=r"listed twice|uses that column"):
        StudyTable.build(rows(), labels, split_name="toy", root=None, origin="toy.csv")


def test_empty_split_names_the_others():
    table = build(rows(split=["train", "train", "val", "val"]))
    with pytest.raises(DataError, match=r"'test' .* is empty; .*train \(2 images\)"):
        table.split("test")


def test_class_without_positives_is_refused_by_name():
    table = build(rows(Mass=[0, 0, 1, 1]))
    assert table.class_counts("train").loc["Mass"].tolist() == [0, 2, 0, 0]
    with pytest.raises(DataError, match=r"no positive image for Mass.*data.labels: \[Edema\]"):
        table.check_trainable()
    build(rows()).check_trainable()


def test_class_without_negatives_is_refused_by_name():
    with pytest.raises(DataError, match="no negative image for Mass"):
        build(rows(Mass=[1, -1, 0, 0])).check_trainable()


def test_files_are_found_and_measured(tmp_path):
    for i, name in enumerate(rows()["image"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * i)
    assert build(rows(), root=tmp_path).frame["bytes"].tolist() == [0, 1, 2, 3]
    (tmp_path / "b/3.png").unlink()
    with pytest.raises(DataError, match=r"toy.csv, row 4, image 'b/3.png': the file is not below the data root"):
        build(rows(), root=tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        build(rows(), root=tmp_path / "absent")


def test_fingerprint_needs_measured_files(tmp_path):
    with pytest.raises(DataError, match="check_files=False"):
        build(rows(), root=tmp_path, check_files=False).fingerprint()


def boxed():
    return build(rows(boxes=[[("Mass", 0.1, 0.1, 0.3, 0.3), ("Edema", 0, 0, 1, 1)], [], [], []]))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)))
def test_fingerprint_ignores_row_order(order):
    frame = rows(boxes=[[("Mass", 0.1, 0.1, 0.3, 0.3), ("Edema", 0, 0, 1, 1)], [], [], []])
    assert build(frame.iloc[list(order)]).fingerprint() == boxed().fingerprint()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"image": ["a/0.png", "a/1.png", "b/2.png", "b/4.png"]}, "images"),
        ({"bytes": [0, 0, 0, 1]}, "images"),
        ({"dataset": "other"}, "images"),
        ({"Edema": [0, 1, 1, 1]}, "labels"),
        ({"Edema": [0, 1, 1, np.nan]}, "labels"),
        ({"boxes": [[("Mass", 0.1, 0.1, 0.3, 0.3)], [], [], []]}, "boxes"),
        ({"split": ["train", "train", "val", "val"]}, "split"),
        ({"patient": ["p0", "p0", "p1", "p9"]}, "split"),
    ],
)
def test_fingerprint_sees_every_change(change, part):
    assert build(rows(**change)).fingerprint()[part] != build(rows()).fingerprint()[part]


def test_fingerprint_sees_the_order_of_labels():
    turned = StudyTable.build(rows(), LABELS[::-1], split_name="toy", root=None, origin="toy.csv")
    assert turned.fingerprint()["labels"] != build(rows()).fingerprint()["labels"]


def test_fingerprint_holds_report_sections_and_lists():
    one, two = (build(rows(findings=[text, None, "", "x"]), split_lists="ab") for text in ("clear", "Clear"))
    assert one.fingerprint()["text"] != two.fingerprint()["text"]
    assert one.fingerprint()["split_lists"] == "ab"
    assert "text" not in build(rows()).fingerprint()


def test_concat_keeps_same_names_of_two_data_sets_apart():
    first = build(rows())
    other = rows(dataset="other", split=["test", "test", "val", "train"]).rename(columns={"Edema": "Hernia"})
    second = StudyTable.build(other, ("Hernia", "Mass"), split_name="o", root=None, origin="other.csv")
    joint = StudyTable.concat([first, second])
    assert joint.labels == ("Mass", "Edema", "Hernia")
    assert len(joint) == 8
    assert joint.split_name == "toy + o"
    assert np.isnan(joint.targets()[4:, 1]).all()
    np.testing.assert_array_equal(joint.targets()[4:, 2], [0, 1, 1, 0])
    assert joint.fingerprint()["rows"] == 8
    assert StudyTable.concat([second, first], joint.labels).fingerprint() == joint.fingerprint()


def test_concat_refuses_repeated_keys_and_unknown_labels():
    with pytest.raises(DataError, match="already used"):
        StudyTable.concat([build(rows()), build(rows())])
    with pytest.raises(DataError, match="no source has the label Hernia"):
        StudyTable.concat([build(rows())], ["Hernia"])
    with pytest.raises(DataError, match="no study table"):
        StudyTable.concat([])


def test_concat_checks_patients_of_one_data_set_across_tables():
    later = rows(image=["c/0.png", "c/1.png", "c/2.png", "c/3.png"], split=["test", "test", "val", "test"])
    with pytest.raises(DataError, match="'p0' has images in train and test"):
        StudyTable.concat([build(rows()), build(later)])


def test_concat_to_fewer_labels_drops_their_boxes():
    joint = StudyTable.concat([boxed()], ["Edema"])
    assert joint.labels == ("Edema",)
    assert "Mass" not in joint.frame
    assert [box[0] for box in joint.frame["boxes"][0]] == ["Edema"]


def test_with_split_checks_again():
    table = build(rows())
    assert table.with_split(np.array(["test", "test", "val", "train"]), "new").split("test").tolist() == [0, 1]
    with pytest.raises(DataError, match="train and test"):
        table.with_split(np.array(["test", "train", "val", "train"]), "new")


def test_table_cannot_be_reassigned():
    with pytest.raises(dataclasses.FrozenInstanceError):
        build(rows()).split_name = "other"


def test_fingerprint_ignores_the_order_of_boxes_in_an_image():
    boxes = [("Mass", 0.1, 0.1, 0.3, 0.3), ("Edema", 0.0, 0.0, 1.0, 1.0)]
    one, two = (build(rows(boxes=[order, [], [], []])) for order in (boxes, boxes[::-1]))
    assert one.fingerprint() == two.fingerprint()

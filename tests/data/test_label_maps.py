"""Do labels under any source's names arrive in the joint vocabulary with the right value, and nothing else?"""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.labeler import OBSERVATIONS
from cxrvl.data.labels import CHESTXRAY14, CHEXPERT14, VOCABULARY, map_labels
from cxrvl.errors import DataError

NAN = float("nan")
STRENGTH = (1.0, -1.0, 0.0, NAN)


def test_vocabularies_are_the_published_ones():
    assert CHEXPERT14 == OBSERVATIONS
    assert VOCABULARY[:14] == CHESTXRAY14
    assert len(set(VOCABULARY)) == len(VOCABULARY) == 25
    assert set(CHEXPERT14) - set(VOCABULARY) == {"Pleural Effusion"}


def test_renames_and_leaves_out_on_purpose():
    raw = pd.DataFrame(
        {"Pleural Effusion": ["1", None, "-1.0"], "Devices": [0, 1, 0], "Other": ["0"] * 3}, index=[4, 5, 9]
    )
    mapped = map_labels(raw, {"Devices": "Support Devices", "Pleural Effusion": "Effusion", "Other": None}, "x.csv")
    assert mapped.columns.tolist() == ["Effusion", "Support Devices"]  # the vocabulary's order
    assert mapped.index.tolist() == [4, 5, 9]
    assert (mapped.dtypes == np.float32).all()
    np.testing.assert_array_equal(mapped["Effusion"], [1, NAN, -1])
    np.testing.assert_array_equal(mapped["Support Devices"], [0, 1, 0])


def test_of_several_names_the_strongest_value_wins():
    pairs = pd.DataFrame(list(itertools.product(STRENGTH, STRENGTH)), columns=["a", "b"])
    mapped = map_labels(pairs, {"a": "Mass", "b": "Mass"}, "x.csv")["Mass"]
    expected = [STRENGTH[min(i, j)] for i, j in itertools.product(range(4), range(4))]
    np.testing.assert_array_equal(mapped, expected)


@pytest.mark.parametrize(
    ("columns", "label_map", "message"),
    [
        (["a"], {"a": "Cardiomegally"}, r"x.csv: label_map points to 'Cardiomegally'; did you mean 'Cardiomegaly'"),
        (["a"], {"a": "Pleural Effusion"}, r"label_map points to 'Pleural Effusion'"),
        (["Edema"], {"Edemaa": "Edema"}, r"label_map names the column 'Edemaa'; did you mean 'Edema'"),
        (["Edema", "Mass"], {"Edema": "Edema"}, r"label_map has no entry for the column 'Mass'"),
    ],
)
def test_refuses_unknown_names(columns, label_map, message):
    with pytest.raises(DataError, match=message):
        map_labels(pd.DataFrame(0, index=[0], columns=columns), label_map, "x.csv")


@pytest.mark.parametrize("bad", ["2", 2, "yes", "nan", float("inf"), 0.5])
def test_refuses_values_by_row(bad):
    raw = pd.DataFrame({"Edema": pd.Series([1, bad], dtype=object)})
    with pytest.raises(DataError, match=r"x.csv, row 2, column 'Edema': found .*, expected"):
        map_labels(raw, {"Edema": None}, "x.csv")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(STRENGTH)] * 3), min_size=1, max_size=6), st.permutations(["a", "b", "c"]))
def test_order_of_the_map_does_not_matter(rows, names):
    raw = pd.DataFrame(rows, columns=["a", "b", "c"])
    target = {"a": "Edema", "b": "Edema", "c": "Mass"}
    mapped = map_labels(raw, {name: target[name] for name in names}, "x.csv")
    pd.testing.assert_frame_equal(mapped, map_labels(raw, target, "x.csv"))

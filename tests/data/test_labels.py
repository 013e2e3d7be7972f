"""Are findings read as they are written, and unknown names refused with the row?"""

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.labels import CHESTXRAY14, choose_labels, map_values, split_findings
from cxrvl.errors import DataError


def test_choose_labels_keeps_order_and_hints():
    assert choose_labels(["Mass", "Edema"], CHESTXRAY14, "nih14") == ("Mass", "Edema")
    with pytest.raises(DataError, match="did you mean 'Cardiomegaly'"):
        choose_labels(["Cardiomegally"], CHESTXRAY14, "nih14")
    with pytest.raises(DataError, match="empty"):
        choose_labels([], CHESTXRAY14, "nih14")


def test_split_findings():
    text = pd.Series(["Mass|Edema", "None", "Edema", "Mass | Edema"], name="found")
    frame = split_findings(text, ["Mass", "Edema", "None"], "x.csv")
    np.testing.assert_array_equal(frame.to_numpy(), [[1, 1, 0], [0, 0, 1], [0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize("bad", ["Mass|Tumor", "", None])
def test_split_findings_names_the_row(bad):
    with pytest.raises(DataError, match=r"x.csv, row 8, column 'found'"):
        split_findings(pd.Series(["Mass", bad], name="found", index=[3, 7]), ["Mass"], "x.csv")


def test_map_values():
    column = pd.Series(["Positive", "0", None, "1.0", "u", True], name="c", dtype=object)
    mapped = map_values(column, {"Positive": 1, 0: 0, 1: 1, "u": -1, "true": 1}, "x.csv")
    np.testing.assert_array_equal(mapped, np.float32([1, 0, np.nan, 1, -1, 1]))
    assert map_values(pd.Series([None], dtype=object), {"": 0}, "x.csv").tolist() == [0]
    assert np.isnan(map_values(pd.Series(["?"]), {"?": None}, "x.csv").iloc[0])


def test_map_values_refuses_unknown():
    with pytest.raises(DataError, match=r"row 2, column 'c': found 'maybe', expected one of Positive"):
        map_values(pd.Series(["Positive", "maybe"], name="c"), {"Positive": 1}, "x.csv")
    with pytest.raises(DataError, match=r"row 1, column 'c': found 'yes', expected a number"):
        map_values(pd.Series(["yes"], name="c"), None, "x.csv")

"""Are boxes collected per image, clipped only where annotation tools overshoot, and checked?"""

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.boxes import bad_boxes, box_lists, long_boxes
from cxrvl.errors import DataError


def test_lists_and_long_table_are_inverse():
    corners = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.6, 0.7]])
    lists = box_lists(np.array([2, 0, 2]), ["a", "b", "c"], corners, 3)
    assert lists == [[("b", 0, 0, 1, 1)], [], [("a", 0.1, 0.2, 0.3, 0.4), ("c", 0.5, 0.5, 0.6, 0.7)]]
    long = long_boxes(pd.Series(lists))
    assert long["row"].tolist() == [0, 2, 2]
    assert long["label"].tolist() == ["b", "a", "c"]
    np.testing.assert_array_equal(long[["x0", "y0", "x1", "y1"]], corners[[1, 0, 2]])


def test_small_overshoot_is_clipped_and_large_kept():
    near, far = box_lists(np.array([0, 0]), ["a", "b"], np.array([[-0.004, 0, 1.004, 1], [-0.2, 0, 1, 1]]), 1)[0]
    assert near == ("a", 0.0, 0.0, 1.0, 1.0)
    assert far[1] == -0.2


def test_bad_boxes():
    frame = long_boxes(
        pd.Series(
            [[("ok", 0.1, 0.1, 0.2, 0.2), ("thin", 0.1, 0.1, 0.1, 0.2), ("turned", 0.1, 0.3, 0.2, 0.2)],
             [("out", 0.1, 0.1, 0.2, 1.2), ("nan", np.nan, 0.1, 0.2, 0.2)]]
        )
    )  # fmt: skip
    assert bad_boxes(frame).tolist() == [False, True, True, True, True]


def test_no_boxes_give_an_empty_table_with_types():
    long = long_boxes(pd.Series([[], []]))
    assert len(long) == 0
    assert long["x0"].dtype == np.float64


def test_short_box_is_named():
    with pytest.raises(DataError, match="row 1: found"):
        long_boxes(pd.Series([[], [("a", 1, 2, 3)]]))

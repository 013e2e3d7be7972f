"""A few images of each split still hold both classes of every label, however rare."""

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.selection import select
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError


@pytest.fixture
def table():
    n = 1000
    frame = pd.DataFrame(
        {
            "image": [f"{i:04d}" for i in range(n)],
            "dataset": "made",
            "patient": [f"p{i}" for i in range(n)],
            "split": np.where(np.arange(n) % 4 == 0, "test", "train"),
            "Common": (np.arange(n) % 3 == 0).astype(float),
            "Rare": np.isin(np.arange(n), [700, 701]).astype(float),
        }
    )
    return StudyTable.build(frame, ["Common", "Rare"], split_name="made", root=None, origin="made.csv")


def test_rare_findings_stay_and_the_rest_is_spread(table):
    few = select(table, limit=12)
    for split in ("train", "test"):
        rows = few.split(split)
        assert len(rows) == 12
        counts = few.class_counts(split)
        assert (counts["positive"] > 0).all()
        assert (counts["negative"] > 0).all()
    numbers = few.frame["image"].astype(int)
    assert numbers.is_monotonic_increasing
    assert numbers.max() > 900


def test_the_choice_repeats(table):
    pd.testing.assert_frame_equal(select(table, limit=12).frame, select(table, limit=12).frame)


def test_no_limit_keeps_all_and_labels_are_chosen(table):
    assert len(select(table)) == 1000
    assert select(table, labels=["Rare"]).labels == ("Rare",)


def test_wrong_requests_are_named(table):
    with pytest.raises(DataError, match="asks for Rarer"):
        select(table, labels=["Rarer"])
    with pytest.raises(ConfigError, match="expected a list"):
        select(table, labels="Rare")
    with pytest.raises(ConfigError, match="at least one image"):
        select(table, limit=0)

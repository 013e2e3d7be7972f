"""Are wrong labels and unseen findings put where they are asked for, alone, and told?"""

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.selection import select
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

LABELS = ["Effusion", "Cardiomegaly"]


@pytest.fixture(scope="module")
def phantom():
    return PhantomSource(images=900, seed=5, size=32).table()


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 4000
    values = rng.choice([1.0, 0.0, -1.0, np.nan], p=[0.3, 0.5, 0.1, 0.1], size=(n, 2))
    frame = pd.DataFrame(
        {"image": [f"{i:05d}" for i in range(n)], "dataset": "made", "patient": [f"p{i}" for i in range(n)]}
    )
    frame["split"] = np.array(["train", "val", "test", "unlabelled"])[np.arange(n) % 4]
    frame[["A", "B"]] = values
    return StudyTable.build(frame, ["A", "B"], split_name="made", root=None, origin="made.csv")


def test_training_labels_alone_are_turned_over_and_a_smaller_share_is_part_of_a_larger(table):
    noisy = {share: select(table, label_noise=share, split_seed=3) for share in (0.1, 0.3)}
    train = table.split("train")
    rest = np.setdiff1d(np.arange(len(table)), train)
    before = table.targets()
    turned = {}
    for share, other in noisy.items():
        after = other.targets()
        np.testing.assert_array_equal(after[rest], before[rest])
        stated = np.isin(before[train], (0, 1))
        np.testing.assert_array_equal(after[train][~stated], before[train][~stated])
        turned[share] = stated & (after[train] != before[train])
        np.testing.assert_array_equal(after[train][turned[share]], 1 - before[train][turned[share]])
        assert turned[share].sum() / stated.sum() == pytest.approx(share, abs=0.03)
        assert other.split_name == table.split_name
        assert f"of {int((before[train] == 1).sum())} positive" in other.notes[-1]
    assert (turned[0.1] <= turned[0.3]).all()
    assert noisy[0.1].fingerprint()["labels"] != table.fingerprint()["labels"]
    assert noisy[0.1].split_sha256 == table.split_sha256
    again = select(table, label_noise=0.1, split_seed=3)
    pd.testing.assert_frame_equal(again.frame, noisy[0.1].frame)
    assert not select(table, label_noise=0.1, split_seed=4).frame.equals(again.frame)


def test_one_side_alone_can_be_wrong(table):
    after = select(table, label_noise={"positive": 0.5}).targets()
    train, before = table.split("train"), table.targets()
    changed = np.nan_to_num(after[train], nan=9) != np.nan_to_num(before[train], nan=9)
    assert changed.sum() / (before[train] == 1).sum() == pytest.approx(0.5, abs=0.05)
    assert (before[train][changed] == 1).all()


@pytest.mark.parametrize("folds", [None, 3])
def test_unseen_findings_are_in_the_pool_alone_at_the_share_asked_for(phantom, folds):
    chosen = {"labels": LABELS, "label_fraction": 0.2, "unlabelled_folds": folds}
    plain = select(phantom, **chosen)
    nodules = dict(zip(phantom.frame["image"], phantom.frame["Nodule"] == 1, strict=True))
    sizes = set()
    for share in (0.0, 0.1, 0.15):
        table = select(phantom, unseen={"labels": ["Nodule"], "share": share}, **chosen)
        frame = table.frame.assign(nodule=[nodules[key] for key in table.frame["image"]])
        assert not frame[frame["split"] == "train"]["nodule"].any()
        pool = frame[frame["split"] == "unlabelled"]
        assert pool["nodule"].mean() == pytest.approx(share, abs=0.01)
        if folds:
            for _, part in pool.groupby("unlabelled_fold"):
                assert part["nodule"].mean() == pytest.approx(share, abs=0.02)
        sizes.add(len(pool))
        for split in ("val", "test"):
            assert list(frame[frame["split"] == split]["image"]) == list(plain.frame["image"].iloc[plain.split(split)])
        assert table.split_name == plain.split_name
        assert table.labels == tuple(LABELS)
        assert f"{int(pool['nodule'].sum())} of {len(pool)} unlabelled images show Nodule" in table.notes[-1]
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"label_noise": 1.2}, ConfigError, "shares from 0 to 1"),
        ({"label_noise": {"positve": 0.1}}, ConfigError, "'positve'; did you mean 'positive'"),
        ({"unseen": {"labels": ["Nodul"], "share": 0.1}}, ConfigError, "'Nodul' is no label of the data; did you mean"),
        ({"unseen": {"labels": ["Nodule"]}}, ConfigError, "expected {labels"),
        ({"unseen": {"labels": ["Nodule"], "share": 1}}, ConfigError, r"a share in \[0, 1\)"),
        ({"unseen": {"labels": ["Nodule"], "share": 0.1}}, DataError, "set data.label_fraction"),
        ({"unseen": {"labels": ["Nodule"], "share": 0.9}, "label_fraction": 0.2}, ConfigError, "ask for at most 0."),
    ],
)
def test_what_cannot_be_is_refused(phantom, options, error, told):
    with pytest.raises(error, match=told):
        select(phantom, **options)

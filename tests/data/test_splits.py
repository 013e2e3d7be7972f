"""Are splits by patient disjoint, stable and of the asked size, and do split files come back as written?"""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.splits import patient_draw, read_list, read_lists, read_split_file, split_by_patient, write_split_file
from cxrvl.errors import DataError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50).map(str), min_size=1, max_size=200), st.integers(0, 5), st.booleans())
def test_no_patient_in_two_splits(patients, seed, stratify):
    positives = np.random.default_rng(seed).random((len(patients), 3)) < 0.2 if stratify else None
    split = split_by_patient(patients, SHARES, seed, positives)
    assert len({*zip(patients, split, strict=True)}) == len(set(patients))


def test_shares_and_seeds():
    patients = [str(i) for i in range(20_000)]
    first, second = (split_by_patient(patients, SHARES, seed) for seed in (0, 1))
    for name, share in SHARES.items():
        assert abs((first == name).mean() - share) < 0.015
    agreement = sum(share**2 for share in SHARES.values())
    assert abs((first == second).mean() - agreement) < 0.02


def test_the_order_in_which_shares_are_written_changes_nothing():
    patients = [f"p{i}" for i in range(200)]
    turned = dict(sorted(SHARES.items(), reverse=True))
    assert list(turned) != list(SHARES)
    for shares in (turned, dict(sorted(SHARES.items()))):
        assert split_by_patient(patients, shares, 0).tolist() == split_by_patient(patients, SHARES, 0).tolist()


def test_growing_data_moves_nobody():
    patients = [f"p{i}" for i in range(500)]
    more = ["new", *patients[::-1], "newer"]
    before = dict(zip(patients, split_by_patient(patients, SHARES, 3), strict=True))
    after = dict(zip(more, split_by_patient(more, SHARES, 3), strict=True))
    assert all(after[patient] == name for patient, name in before.items())


def test_patient_draw_is_fixed_for_ever():
    # Published splits rest on these numbers.
    np.testing.assert_allclose(
        patient_draw(["1", "2", "1"], "cxrvl split 0"),
        [0.7880661438624883, 0.6672975399219331, 0.7880661438624883],
        rtol=0,
    )


def test_stratified_reaches_rare_findings():
    rng = np.random.default_rng(0)
    patients = np.repeat([str(i) for i in range(1000)], 2)
    positives = np.stack([rng.random(2000) < 0.02, rng.random(2000) < 0.3], axis=1)
    split = split_by_patient(patients.tolist(), SHARES, 0, positives)
    person = positives.reshape(1000, 2, 2).any(axis=1)[:, 0]
    of_person = split[::2]
    for name, share in SHARES.items():
        assert abs((of_person[person] == name).mean() - share) < 0.02


@pytest.mark.parametrize("shares", [{"train": 0.5}, {"train": 0.5, "dev": 0.5}, {"train": 1.5, "test": -0.5}, {}])
def test_bad_shares(shares):
    with pytest.raises(DataError, match="sum 1"):
        split_by_patient(["a"], shares, 0)


def test_split_file_round_trip(tmp_path):
    path = tmp_path / "split.csv"
    sha = write_split_file(path, ["b", "a", "b"], ["test", "train", "test"], by="patient")
    members = read_split_file(path)
    assert members.by == "patient"
    assert members.sha256 == sha
    assert members.apply(["a", "b", "c"]).tolist() == ["train", "test", ""]
    assert path.read_text() == "patient,split\na,train\nb,test\n"
    path.write_text("patient,split\r\nb,test\r\na,train\r\n")
    assert read_split_file(path).sha256 == sha
    path.write_text("patient,split\nb,test\na,val\n")
    assert read_split_file(path).sha256 != sha


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,fold\na,train\n", "expected image,split or patient,split"),
        ("image,split\na,train\na,val\n", "row 2: image 'a' is listed twice"),
        ("image,split\na,training\n", "'training', expected one of train, val, test"),
        ("", "cannot be read"),
    ],
)
def test_bad_split_files(tmp_path, text, words):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_split_file(path)


def test_write_refuses_contradiction(tmp_path):
    with pytest.raises(DataError, match="in 'train' and in 'test'"):
        write_split_file(tmp_path / "s.csv", ["a", "a"], ["train", "test"])
    assert not list(tmp_path.iterdir())


def test_lists_plain_and_gzipped(tmp_path):
    (tmp_path / "train.txt").write_text("a.png 0 1\n\nb.png 1 0")
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress(b"c.png\n"))
    lists = read_lists({"train": tmp_path / "train.txt", "test": tmp_path / "test.txt.gz"})
    assert lists.split == {"a.png": "train", "b.png": "train", "c.png": "test"}
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress(b"a.png\n"))
    with pytest.raises(DataError, match=r"'a.png' is in 'train' as well"):
        read_lists({"train": tmp_path / "train.txt", "test": tmp_path / "test.txt.gz"})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("l.txt", b"a\nb\na\n", "'a' is listed twice"), ("l.txt", b"\n", "empty"), ("l.gz", b"no gzip", "cannot be read"),
     ("l.txt", b"\xff\xfe\x00", "cannot be read")],
)  # fmt: skip
def test_bad_lists(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_list(tmp_path / name)

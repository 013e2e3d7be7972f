"""Several sources as one: whose rows, pixels, labels and reports are they afterwards, and what is refused?"""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.images import StoreSpec, prepare
from cxrvl.data.modules.shares import Shares, repeated
from cxrvl.data.sources.base import ReportSource, Source
from cxrvl.data.sources.manifest import Manifest
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.errors import ConfigError, DataError
from cxrvl.tracking.sharing import shareable


def phantom(**options):
    return PhantomSource(**{"images": 24, "seed": 3, "size": 40, "shareable": True, **options})


@pytest.fixture
def files(tmp_path):
    """A data set of eight files with labels and text, named like the phantom's labels in part."""
    root = tmp_path / "files"
    (root / "img").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 255, (40, 36), dtype=np.uint8)).save(root / "img" / f"{number}.png")
    pd.DataFrame({
        "file": [f"img/{n}.png" for n in range(8)],
        "who": [f"p{n // 2}" for n in range(8)], "study": [f"s{n // 2}" for n in range(8)],
        "effusion": [1, 1, 0, 0, -1, -1, "", ""], "fracture": [1, 1, 0, 0, 0, 0, 1, 1],
        "part": ["train"] * 4 + ["val"] * 2 + ["test"] * 2, "words": [f"Own words {n // 2}." for n in range(8)],
    }).to_csv(root / "table.csv", index=False)  # fmt: skip
    return Manifest(
        root, "table.csv", "files",
        {"image": "file", "patient": "who", "study": "study", "split": "part", "impression": "words"},
        {"Effusion": "effusion", "Fracture": "fracture"},
    )  # fmt: skip


def test_rows_keep_their_source_split_and_labels(files):
    parts = [phantom(labels=["Nodule", "Effusion"]), files]
    mixture = Mixture(parts)
    assert isinstance(mixture, Source)
    assert isinstance(mixture, ReportSource)
    table = mixture.table()
    assert len(table) == 32
    assert table.labels == ("Nodule", "Effusion", "Fracture")
    assert table.root is None
    frame = table.frame
    assert frame["dataset"].tolist() == ["phantom"] * 24 + ["files"] * 8
    for name, source in zip(("phantom", "files"), parts, strict=True):
        own, there = source.table().frame, frame[frame["dataset"] == name]
        assert there["image"].tolist() == [f"{name}/{key}" for key in own["image"]]
        for column in ("patient", "study", "split", "bytes", "Effusion"):
            pd.testing.assert_series_equal(there[column].reset_index(drop=True), own[column], check_dtype=False)
    assert frame.loc[frame["dataset"] == "files", "Nodule"].isna().all()
    assert frame.loc[frame["dataset"] == "phantom", "Fracture"].isna().all()
    assert table.fingerprint() == Mixture(parts).table().fingerprint()


def test_two_cohorts_of_one_name_are_kept_apart_by_names():
    with pytest.raises(ConfigError, match=r"two sources are named alike \(phantom, phantom\).*data.source.names"):
        Mixture([phantom(), phantom(seed=4)])
    same = Mixture([phantom(), phantom()], names=["a", "b"]).table()
    assert not same.frame.duplicated(["dataset", "image"]).any()
    assert sorted(same.frame["dataset"].unique()) == ["a", "b"]
    assert same.split_name == "a: phantom + b: phantom"
    assert [note[:3] for note in same.notes] == ["a: ", "b: "]


def test_pixels_come_from_the_right_source(files, tmp_path):
    parts = {"phantom": phantom(images=6), "files": files}
    mixture = pickle.loads(pickle.dumps(Mixture(list(parts.values()))))
    keys = mixture.table().frame["image"].tolist()[::-1]
    for key, image in zip(keys, mixture.read_many(keys), strict=True):
        name, _, own = key.partition("/")
        np.testing.assert_array_equal(image, parts[name].read(own))
        np.testing.assert_array_equal(mixture.read(key), image)
    assert mixture.path("phantom/phantom/3/000000") is None
    assert mixture.path("files/img/0.png") == files.root / "img/0.png"
    assert mixture.pixel_identity()["sources"] == {name: part.pixel_identity() for name, part in parts.items()}
    with pytest.raises(DataError, match=r"'other/1' is of no source of this mixture; it has phantom, files"):
        mixture.read("other/1")
    store = prepare(mixture, mixture.table(), StoreSpec(32), tmp_path / "stores", workers=0)
    again = prepare(files, files.table(), StoreSpec(32), tmp_path / "stores", workers=0)
    rows = store.rows(mixture.table())[6:]
    np.testing.assert_array_equal(store.take(rows), again.take(again.rows(files.table())))


def test_a_changed_or_broken_file_is_noticed_and_named(files, tmp_path):
    mixture = Mixture([phantom(images=6), files])
    table, spec, out = mixture.table(), StoreSpec(32), tmp_path / "stores"
    before = prepare(mixture, table, spec, out, workers=0)
    row = int(before.rows(table)[table.frame["image"].tolist().index("files/img/1.png")])
    old = before.take(np.array([row]))
    path = files.root / "img/1.png"
    size = path.stat().st_size
    Image.fromarray(np.zeros((40, 36), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))  # another time, the same size
    assert not np.array_equal(prepare(mixture, table, spec, out, workers=0).take(np.array([row])), old)
    path.write_bytes(b"no picture".ljust(size, b"\0"))
    with pytest.raises(DataError, match=r"1 of 14 images cannot be read \(0 are allowed\), first files/img/1.png: "):
        prepare(mixture, table, spec, out, workers=0)
    listed = pd.read_csv(next(out.glob("mixture-*")) / "quarantine.csv")
    assert listed["file"].tolist() == [str(path)]


def test_it_is_shareable_only_if_all_are(files):
    for told, expected in ((True, True), (False, False)):
        changed = f"data.source.sources.1.shareable={told}"
        assert shareable(resolved(compose_config(["data=mixture", changed]))["data"]) is expected
    assert Mixture([phantom(), phantom(seed=4)], names=["a", "b"]).shareable
    assert not Mixture([phantom(), files]).shareable


def test_each_source_has_its_own_label_policy(files):
    policies = {
        "default": {"uncertain": "positive"},
        "files": {"uncertain": {"Effusion": "negative"}, "unstated": "negative"},
    }
    mixture = Mixture([files, phantom(labels=["Nodule"], reports="prose")], label_policies=policies)
    for table, effusion in ((mixture.table(), [1, 1, 0, 0, 0, 0, 0, 0]), (mixture.reports(), [1, 0, 0, 0])):
        there = table.frame[table.frame["dataset"] == "files"]
        assert there["Effusion"].tolist() == effusion
        assert there["Nodule"].isna().all(), "a label the source does not have stays not stated"
        assert table.frame["Effusion"].dtype == np.float32
    kept = Mixture([files]).table().frame["Effusion"].tolist()
    assert kept[:6] == [1, 1, 0, 0, -1, -1]
    assert np.isnan(kept[6:]).all()
    assert Mixture([files], label_policies={"default": {"uncertain": "positive"}}).table().frame["Effusion"][4] == 1
    for wrong, words in (
        ({"fils": {}}, r"label_policies names 'fils', which is no source here; did you mean 'files'"),
        ({"files": {"uncertian": "keep"}}, r"unknown key 'uncertian'; known keys: uncertain, unstated"),
        ({"files": {"unstated": "positive"}}, r"files: unstated is 'positive'; expected keep or negative"),
        ({"files": "keep"}, r"label_policies.files is 'keep'; expected a mapping"),
    ):
        with pytest.raises((ConfigError, DataError), match=words):
            Mixture([files], label_policies=wrong).table()


def test_reports_are_joined_and_a_source_without_any_is_refused(files):
    reports = Mixture([files, phantom(reports="terse")]).reports()
    assert set(reports.frame["dataset"]) == {"files", "phantom"}
    assert reports.frame["impression"].tolist()[:4] == [f"Own words {n}." for n in range(4)]
    with pytest.raises(DataError, match="no report text"):
        Mixture([files, phantom()]).reports()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": [1]}, r"weights is \[1\] for the sources a, b; expected one number per source"),
        ({"weights": [1, -1]}, "none of them negative"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"names": ["a"]}, "has 2 sources and 1 names"),
        ({"names": ["a", "b/c"]}, "'b/c' cannot name a source"),
        ({"names": ["a", "default"]}, "'default' cannot name a source"),
        ({"epoch_length": 3}, "epoch_length=3 with weights=None"),
        ({"weights": [1, 1], "epoch_length": 0}, "at least one row"),
    ],
)
def test_options_that_cannot_be_right_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Mixture([phantom(), phantom(seed=4)], **{"names": ["a", "b"], **options})


def test_a_mixture_holds_no_mixture_and_something():
    with pytest.raises(ConfigError, match="'m' is a mixture inside a mixture"):
        Mixture([Mixture([phantom()])], names=["m"])
    with pytest.raises(ConfigError, match="0 sources"):
        Mixture([])


# How often the sources come up.

ROWS = np.arange(100, 130)
NAMES = ["big"] * 24 + ["small"] * 6


@given(weights=st.tuples(st.floats(1, 9), st.floats(1, 9)), length=st.integers(20, 90), epochs=st.integers(1, 4))
@settings(deadline=None)
def test_an_epoch_holds_the_stated_shares_and_small_sources_come_round_evenly(weights, length, epochs):
    shares = Shares.of(ROWS, NAMES, dict(zip(("big", "small"), weights, strict=True)), length, seed=1)
    assert len(shares) == length
    for (name, count), weight in zip(shares.counts.items(), weights, strict=True):
        assert abs(count - length * weight / sum(weights)) < 1
        rows = ROWS[np.asarray(NAMES) == name]
        seen = np.concatenate([shares.rows(e)[np.isin(shares.rows(e), rows)] for e in range(epochs)])
        assert len(seen) == epochs * count
        times = [int((seen == row).sum()) for row in rows]
        assert max(times) - min(times) <= 1, "no row comes up again before all others have"


@given(start=st.integers(0, 60), count=st.integers(1, 60), n=st.integers(1, 17))
@settings(deadline=None)
def test_a_stream_can_be_entered_anywhere(start, count, n):
    rows = np.arange(n) * 10
    whole = repeated(rows, 3, "x", 0, start + count)
    np.testing.assert_array_equal(repeated(rows, 3, "x", start, count), whole[start:])
    for number in range((start + count) // n):
        assert sorted(whole[number * n : (number + 1) * n]) == list(rows)


def test_streams_differ_by_pass_seed_and_name():
    rows = np.arange(50)
    first = repeated(rows, 0, "a", 0, 50)
    others = [repeated(rows, 0, "a", 50, 50), repeated(rows, 1, "a", 0, 50), repeated(rows, 0, "b", 0, 50)]
    assert not any(np.array_equal(first, other) for other in others)


def test_a_weight_that_cannot_be_kept_is_refused():
    with pytest.raises(ConfigError, match=r"'gone' has weight 1 but no training row; give it the weight 0"):
        Shares.of(ROWS, NAMES, {"big": 1, "gone": 1}, None, 0)
    with pytest.raises(ConfigError, match=r"'small' with weight 0.01 gets none of the 20 rows"):
        Shares.of(ROWS, NAMES, {"big": 9.0, "small": 0.01}, 20, 0)
    assert set(Shares.of(ROWS, NAMES, {"big": 0.0, "small": 2.0}, None, 0).rows(0)) == set(ROWS[24:])


def test_a_source_can_be_an_external_test_set():
    parts = [phantom(name="a"), phantom(name="b", seed=4), phantom(name="c", seed=5)]
    plain, table = Mixture(parts).table(), Mixture(parts, splits={"c": "test"}).table()
    frame = table.frame
    assert set(frame[frame["dataset"] == "c"]["split"]) == {"test"}
    assert "c: all test" in table.split_name
    assert table.split_name != plain.split_name
    pd.testing.assert_frame_equal(frame[frame["dataset"] != "c"], plain.frame[plain.frame["dataset"] != "c"])
    with pytest.raises(ConfigError, match="splits names 'd', which is no source here"):
        Mixture(parts, splits={"d": "test"})
    with pytest.raises(ConfigError, match=r"splits\.c is 'tset'"):
        Mixture(parts, splits={"c": "tset"})

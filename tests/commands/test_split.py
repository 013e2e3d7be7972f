"""`cxrvl split` writes a split once, says what is in it, and the file trains what it says."""

import pandas as pd
import pytest

from cxrvl.data.splits import read_split_file

PHANTOM = ("phantom", "data.source.images=400")


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("official", ["patient", "split"]),
        ("patient", ["patient", "split"]),
        ("kfold", ["patient", "split", "fold"]),
        ("fractions", ["patient", "split", "fraction"]),
        ("distl", ["patient", "split", "fold", "labelled"]),
    ],
)
def test_each_kind_is_written_with_its_sum_and_its_counts(call, tmp_path, kind, columns):
    result = call("split", *PHANTOM, "--kind", kind, "--out", "s.csv")
    assert result.code == 0, result
    members = read_split_file(tmp_path / "s.csv")
    frame = pd.read_csv(tmp_path / "s.csv", dtype=str, keep_default_na=False)
    assert list(frame.columns) == columns
    assert f"sha256 {members.sha256}" in result.out
    assert f"{len(frame)} patients" in result.out
    assert "Pneumothorax" in result.out
    assert frame["patient"].is_monotonic_increasing
    again = call("split", *PHANTOM, "--kind", kind, "--out", "s.csv")
    assert again.code == 0
    assert "is this split already" in again.out


def test_reports_without_images_are_split(call, shared, tmp_path):
    root = f"data.root={shared / 'data/openi'}"
    result = call("split", "openi_reports", root, "--kind", "fractions", "--out", "s.csv")
    assert result.code == 0, result
    assert "reports" in result.out
    frame = pd.read_csv(tmp_path / "s.csv", dtype=str, keep_default_na=False)
    assert len(frame) == 3955
    assert (frame["fraction"] == "0.01").sum() == round(0.01 * (frame["split"] == "train").sum())


def test_distl_has_its_shares(call, tmp_path):
    assert call("split", *PHANTOM, "--kind", "distl", "--out", "d.csv").code == 0
    frame = pd.read_csv(tmp_path / "d.csv", dtype=str, keep_default_na=False)
    train = frame[frame["split"] == "train"]
    known = (train["labelled"] == "1").mean()
    assert abs(known - 0.1) < 0.01
    assert (train["fold"][train["labelled"] == "1"] == "").all()
    assert (train["fold"].value_counts(normalize=True)[["0", "1", "2"]] - 0.3).abs().max() < 0.01
    assert (frame[frame["split"] != "train"][["fold", "labelled"]] == "").all(axis=None)


def test_another_split_under_the_same_name_needs_force(call, refused, tmp_path):
    arguments = ("split", *PHANTOM, "--kind", "kfold", "--out", "s.csv")
    call(*arguments)
    before = (tmp_path / "s.csv").read_bytes()
    assert "holds another split" in refused(*arguments, "--seed", "1")
    assert (tmp_path / "s.csv").read_bytes() == before
    assert call(*arguments, "--seed", "1", "--force").code == 0
    assert (tmp_path / "s.csv").read_bytes() != before
    (tmp_path / "notes.txt").write_text("worth keeping\n")
    assert "is no split" in refused("split", *PHANTOM, "--out", "notes.txt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "official", "--folds", "5"), "--folds goes with --kind kfold or distl"),
        (("--kind", "kfold", "--fractions", "0.1"), "--fractions goes with"),
        (("--kind", "patient", "--fractions", "0.7", "0.3"), "expected three, of train, val, test"),
        (("--kind", "patient", "--fractions", "0.7", "0.3", "0.3"), "sum 1"),
        (("--kind", "distl", "--fractions", "0.1", "0.2"), "is one share"),
        (("--kind", "fractions", "--fractions", "2"), "found 2"),
        (("--kind", "kfold", "--folds", "1"), "1 folds of"),
    ],
)
def test_options_that_do_not_fit_are_refused(refused, tmp_path, arguments, words):
    assert words in refused("split", *PHANTOM, "--out", "s.csv", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_written_file_is_what_the_drawn_options_would_be(call, tmp_path):
    from cxrvl.data.resplit import resplit
    from cxrvl.data.sources.phantom import PhantomSource

    table = PhantomSource(images=400, seed=7, size=80).table()
    for kind, options in (
        ("kfold", {"fold": 2}),
        ("fractions", {"label_fraction": 0.15}),
        ("distl", {"label_fraction": 0.1, "unlabelled_folds": 3}),
    ):
        assert call("split", *PHANTOM, "--kind", kind, "--out", f"{kind}.csv").code == 0
        drawn = resplit(table, **options)
        written = resplit(table, split_file=str(tmp_path / f"{kind}.csv"), **(options if kind != "distl" else {}))
        assert drawn.split_sha256 == written.split_sha256
        if kind == "distl":
            assert (drawn.frame["unlabelled_fold"] == written.frame["unlabelled_fold"]).all()

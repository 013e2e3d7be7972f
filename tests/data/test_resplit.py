"""Does a data config's fold, label fraction or split file become the study table's split, and part of its identity?"""

import numpy as np
import pandas as pd
import pytest

from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.folds import distl_folds
from cxrvl.data.resplit import UNLABELLED_FOLD, resplit
from cxrvl.data.selection import select
from cxrvl.data.splits import write_split_file
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError
from cxrvl.runs.identity import identify


def made(name="made", count=300, seed=0):
    rng = np.random.default_rng(seed)
    patients = np.repeat([f"p{i}" for i in range(count)], 2)
    person = rng.random((count, 2)) < (0.05, 0.4)
    frame = pd.DataFrame(
        {
            "image": [f"{i:04d}" for i in range(2 * count)],
            "dataset": name,
            "patient": patients,
            "split": np.repeat(rng.choice(["train", "val", "test"], count, p=[0.6, 0.1, 0.3]), 2),
            "Rare": np.repeat(person[:, 0], 2).astype(float),
            "Common": np.repeat(person[:, 1], 2).astype(float),
        }
    )
    return StudyTable.build(frame, ["Rare", "Common"], split_name="made", root=None, origin="made.csv")


@pytest.fixture(scope="module")
def table():
    return made()


def sizes(table):
    return table.frame["split"].value_counts().to_dict()


def patients(table, split):
    return set(table.frame["patient"].iloc[table.split(split)])


def test_without_options_it_is_the_same_table(table):
    assert resplit(table) is table


def test_folds_take_turns_in_validation_and_leave_the_test_part_alone(table):
    folds = [resplit(table, fold=k, folds=4) for k in range(4)]
    assert {t.split_sha256 for t in folds}.isdisjoint({table.split_sha256})
    assert len({t.split_sha256 for t in folds}) == 4
    pool = patients(table, "train") | patients(table, "val")
    validated = [patients(t, "val") for t in folds]
    assert set.union(*validated) == pool
    assert sum(map(len, validated)) == len(pool)
    for t in folds:
        assert patients(t, "test") == patients(table, "test")
        assert patients(t, "train") == pool - patients(t, "val")
    assert folds[2].split_name == "made, fold 2 of 4 (seed 0)"
    assert resplit(table, fold=0, split_seed=1).split_sha256 != resplit(table, fold=0).split_sha256


def test_a_label_fraction_leaves_the_others_in_the_table_unlabelled(table):
    small, large = (resplit(table, label_fraction=share) for share in (0.05, 0.2))
    assert patients(small, "train") < patients(large, "train")
    for t, share in ((small, 0.05), (large, 0.2)):
        train = len(patients(table, "train"))
        assert len(patients(t, "train")) == round(share * train)
        assert patients(t, "train") | patients(t, "unlabelled") == patients(table, "train")
        assert (t.class_counts("train")["positive"] > 0).all()
        assert patients(t, "val") == patients(table, "val")
        # The same images: one store serves all fractions.
        assert t.fingerprint()["images"] == table.fingerprint()["images"]
    assert "label fraction 0.05: 9 of 179 training patients" in small.notes[-1]


def test_a_fraction_too_small_for_every_finding_is_larger_and_said(table):
    tiny = resplit(table, label_fraction=0.001)
    assert len(patients(tiny, "train")) == 2
    assert "2 of 179 training patients (0.0112, more than asked, so that every finding" in tiny.notes[-1]


def test_unlabelled_folds_are_those_of_distl(table):
    parts = resplit(table, label_fraction=0.1, unlabelled_folds=3, split_seed=4)
    train = table.frame["split"] == "train"
    expected = distl_folds(table.frame["patient"][train].tolist(), (table.targets()[train] == 1), seed=4)
    np.testing.assert_array_equal(parts.frame[UNLABELLED_FOLD][train], expected)
    assert (parts.frame[UNLABELLED_FOLD][~train] == -1).all()
    assert set(parts.frame["split"][parts.frame[UNLABELLED_FOLD] >= 0]) == {"unlabelled"}


def test_data_sets_of_a_mixture_are_drawn_each_for_itself(table, tmp_path):
    joint = StudyTable.concat([table, made("other", 100, seed=1)])
    one = resplit(table, fold=1, label_fraction=0.1)
    both = resplit(joint, fold=1, label_fraction=0.1)
    assert both.frame["split"][: len(one)].tolist() == one.frame["split"].tolist()
    (listed := tmp_path / "s.csv").write_text("patient,split\np0,train\n")
    with pytest.raises(ConfigError, match=r"for one data set, these are 2 \(made, other\)"):
        resplit(joint, split_file=str(listed))


def test_folds_do_not_depend_on_the_labels_chosen(table):
    everything, one = select(table, fold=1), select(table, labels=["Common"], fold=1)
    assert everything.split_sha256 == one.split_sha256


def test_split_files_decide_and_enter_the_identity(table, tmp_path):
    people = table.frame["patient"].tolist()
    split = table.frame["split"].to_numpy(dtype=object)
    train = split != "test"
    fold = np.where(train, [str(int(p[1:]) % 3) for p in people], "").tolist()
    write_split_file(tmp_path / "k.csv", people, split.tolist(), "patient", {"fold": fold})
    plain = resplit(table, split_file=str(tmp_path / "k.csv"))
    assert sizes(plain) == sizes(table)
    assert plain.split_lists
    second = resplit(table, split_file=str(tmp_path / "k.csv"), fold=2)
    assert patients(second, "val") == {p for p, f in zip(people, fold, strict=True) if f == "2"}
    assert second.split_name.startswith("k.csv ")
    with pytest.raises(ConfigError, match=r"data.fold is 3; expected 0 to 2"):
        resplit(table, split_file=str(tmp_path / "k.csv"), fold=3)
    with pytest.raises(ConfigError, match="has 3 folds"):
        resplit(table, split_file=str(tmp_path / "k.csv"), fold=1, folds=5)
    share = np.where(split == "train", "0.1", "").tolist()
    write_split_file(tmp_path / "f.csv", people, split.tolist(), "patient", {"fraction": share})
    assert sizes(resplit(table, split_file=str(tmp_path / "f.csv"), label_fraction=0.1)) == sizes(table)
    with pytest.raises(ConfigError, match=r"label_fraction is 0.2, which .* does not have; it has 0.1"):
        resplit(table, split_file=str(tmp_path / "f.csv"), label_fraction=0.2)
    (tmp_path / "short.csv").write_text("patient,split\np0,train\n")
    with pytest.raises(DataError, match="patient 'p1' of made is not listed"):
        resplit(table, split_file=str(tmp_path / "short.csv"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": 5}, "data.fold is 5; expected 0 to 4"),
        ({"fold": -1}, "data.fold is -1"),
        ({"folds": 5}, "without data.fold"),
        ({"unlabelled_folds": 3}, "needs data.label_fraction"),
        ({"label_fraction": 0}, "label fractions: found 0"),
        ({"fold": 0, "folds": 1}, "1 folds of"),
    ],
)
def test_options_that_do_not_go_together_are_refused(table, options, words):
    with pytest.raises(ConfigError, match=words):
        resplit(table, **options)


def test_a_command_line_chooses_them_and_the_run_id_knows():
    def run(*overrides):
        config = resolved(compose_config(["experiment=phantom/acm", "data.source.images=200", *overrides]))
        return identify(config)

    plain, fold, fraction = run(), run("+data.fold=2"), run("+data.label_fraction=0.1")
    assert len({plain.run_id, fold.run_id, fraction.run_id}) == 3
    assert len({i.fingerprint["study"]["split"] for i in (plain, fold, fraction)}) == 3
    assert len({i.fingerprint["study"]["images"] for i in (plain, fold, fraction)}) == 1

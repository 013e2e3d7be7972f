"""Are folds, label fractions and DISTL's parts by patient, stratified, nested, and the same for any order of rows?"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.folds import LABEL_FRACTIONS, LABELLED, distl_folds, kfold, label_fractions, without_positive
from cxrvl.errors import ConfigError


def cohort(count, seed=0, prevalence=(0.02, 0.1, 0.3)):
    """Patients with one to four images each, and findings of given prevalence per patient."""
    rng = np.random.default_rng(seed)
    visits = rng.integers(1, 5, count)
    person = rng.random((count, len(prevalence))) < prevalence
    return np.repeat([f"p{i}" for i in range(count)], visits).tolist(), np.repeat(person, visits, axis=0)


rows = st.tuples(st.integers(30, 90), st.integers(0, 4), st.integers(0, 3))


def draws(patients, positives, seed):
    return {
        "kfold": kfold(patients, positives, 4, seed),
        "fractions": label_fractions(patients, positives, seed=seed),
        "distl": distl_folds(patients, positives, seed),
    }


@settings(max_examples=25, deadline=None)
@given(rows)
def test_draws_do_not_depend_on_the_order_or_number_of_rows(made):
    count, data_seed, seed = made
    patients, positives = cohort(count, data_seed)
    first = draws(patients, positives, seed)
    shuffled = np.random.default_rng(1).permutation(len(patients))
    again = draws([patients[i] for i in shuffled], positives[shuffled], seed)
    once = draws(patients * 2, np.concatenate([positives, positives]), seed)
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values[shuffled])
        np.testing.assert_array_equal(once[name][: len(patients)], values)
        assert len({*zip(patients, values.tolist(), strict=True)}) == count, "a patient lies in two parts"


@settings(max_examples=25, deadline=None)
@given(rows)
def test_fractions_are_nested_and_hold_every_finding(made):
    count, data_seed, seed = made
    patients, positives = cohort(count, data_seed)
    smallest = label_fractions(patients, positives, LABEL_FRACTIONS, seed)
    assert set(smallest) <= {*LABEL_FRACTIONS, 1.0}
    for fraction in LABEL_FRACTIONS:
        inside = smallest <= fraction
        # Whichever others are asked for, a fraction is the same.
        np.testing.assert_array_equal(inside, label_fractions(patients, positives, [fraction], seed) <= fraction)
        assert without_positive(inside, positives, ["a", "b", "c"]) == []
        assert (~positives[inside].any(axis=1)).any(), "nobody without a finding: nothing negative to learn from"


def test_fractions_have_the_asked_size_and_stratify():
    patients, positives = cohort(10_000)
    person = pd.DataFrame(positives).groupby(np.array(patients)).first()
    smallest = pd.Series(label_fractions(patients, positives)).groupby(np.array(patients)).first()
    for fraction in LABEL_FRACTIONS:
        inside = (smallest <= fraction).to_numpy()
        assert inside.sum() == round(fraction * 10_000)
        # The rarest finding is a stratum of its own, so its share is exact but for rounding.
        assert abs(person.to_numpy()[inside, 0].sum() - fraction * person.to_numpy()[:, 0].sum()) <= 2


def test_folds_are_equal_and_stratified():
    patients, positives = cohort(2003)
    fold = kfold(patients, positives, 5)
    person = pd.DataFrame({"fold": fold, "rare": positives[:, 0]}).groupby(np.array(patients)).first()
    sizes = person["fold"].value_counts()
    assert sizes.max() - sizes.min() <= 1
    rare = person[person["rare"]]["fold"].value_counts().reindex(range(5), fill_value=0)
    assert rare.max() - rare.min() <= 1
    assert (kfold(patients, positives, 5, seed=1) != fold).mean() > 0.7


def test_distl_has_ten_percent_and_three_folds_of_thirty():
    patients, positives = cohort(3000)
    part = distl_folds(patients, positives, seed=2)
    person = pd.Series(part).groupby(np.array(patients)).first()
    assert person.value_counts().to_dict() == {LABELLED: 300, 0: 900, 1: 900, 2: 900}
    np.testing.assert_array_equal(part == LABELLED, label_fractions(patients, positives, [0.1], seed=2) <= 0.1)


def test_draws_are_fixed_for_ever():
    # Published splits rest on these.
    patients = [f"p{i}" for i in range(12)]
    positives = np.eye(12, 2, dtype=bool)
    assert kfold(patients, positives, 3).tolist() == FIXED["kfold"]
    assert label_fractions(patients, positives, [0.25, 0.5]).tolist() == FIXED["fractions"]
    assert distl_folds(patients, positives, labelled=0.25).tolist() == FIXED["distl"]


FIXED = {
    "kfold": [0, 1, 0, 1, 0, 0, 2, 2, 1, 2, 1, 2],
    "fractions": [0.25, 0.25, 0.5, 1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 1.0, 0.5, 1.0],
    "distl": [-1, -1, 2, 2, 1, 0, -1, 0, 1, 0, 1, 2],
}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, x: kfold(p, x, 1), "1 folds of 3 patients"),
        (lambda p, x: kfold(p, x, 4), "4 folds of 3 patients"),
        (lambda p, x: label_fractions(p, x, [0.1, 0.0]), "found 0; expected shares"),
        (lambda p, x: label_fractions(p, x, [1.5]), "found 1.5"),
        (lambda p, x: label_fractions(p, x, []), "found none"),
        (lambda p, x: distl_folds(p, x, labelled=1.0), "labelled share is 1"),
        (lambda p, x: distl_folds(p, x), "3 unlabelled folds of 1 patients"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, words):
    with pytest.raises(ConfigError, match=words):
        call(["a", "b", "c"], np.eye(3, 1, dtype=bool))

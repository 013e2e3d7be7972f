"""Is precision among the nearest reports counted as by hand, in pools of as many studies of each class?"""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from dual_doubles import LABELS, SAYINGS, Towers, evaluated, study_table

from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.dual import ClassRetrievalEvaluator
from cxrvl.evaluation.dual.class_retrieval import expected_hits
from cxrvl.evaluation.row_statistics import Scoring, statistics

WELL_TOLD = {name: SAYINGS[name] for name in LABELS}


def test_hits_are_the_mean_over_all_orders_of_those_as_near():
    rng = np.random.default_rng(0)
    near, right = rng.integers(0, 3, (6, 7)).astype(np.float32), rng.random((6, 7)) < 0.4
    for k in (1, 3, 7):
        found = expected_hits(near, right, k)
        for row in range(6):
            orders = [o for o in permutations(range(7)) if (np.diff(near[row][list(o)]) <= 0).all()]
            assert found[row] == pytest.approx(np.mean([right[row][list(o[:k])].sum() for o in orders]))


def test_an_oracle_finds_reports_of_the_class_alone():
    table = study_table(120, 2, sayings=WELL_TOLD)
    evaluator = ClassRetrievalEvaluator(LABELS, per_class=10, bootstrap=10)
    predictions = evaluated(evaluator, table, Towers(table))
    frame = predictions.frame
    assert frame.drop_duplicates("study").groupby("label").size().to_dict() == dict.fromkeys(LABELS, 10)
    assert len(frame) == 60
    metrics = evaluator.metrics(predictions)
    assert metrics["mean"]["precision_at_1"] == metrics["mean"]["precision_at_10"] == 1.0
    assert metrics["labels"]["Effusion"]["pool"] == 30
    assert metrics["labels"]["Effusion"]["of_class"] == 10
    assert "precision_at_100" not in metrics["mean"]  # of a pool of 30
    found, count = statistics(predictions, "precision_at_5", Scoring(), LABELS)
    assert found["Effusion"](np.ones((count, 1), dtype=np.float32)) == [1.0]
    with pytest.raises(DataError, match=r"nearest 100 of a pool of 30"):
        statistics(predictions, "precision_at_100", Scoring(), LABELS)


def test_towers_that_know_nothing_find_a_class_as_often_as_it_is_there():
    table = study_table(300, 1, sayings=WELL_TOLD)
    evaluator = ClassRetrievalEvaluator(LABELS, per_class=None, bootstrap=10)
    found = evaluator.metrics(evaluated(evaluator, table, Towers(table, knows=0.0)))["mean"]["precision_at_100"]
    assert found == pytest.approx(1 / 3, abs=0.05)


def test_studies_with_several_classes_or_none_are_left_out():
    frame = study_table(120, 1).frame.copy()
    frame.loc[frame.index % 8 == 0, "Cardiomegaly"] = 1.0
    frame.loc[frame.index % 8 == 1, "Pneumothorax"] = -1.0
    table = StudyTable.build(frame, LABELS, split_name="made", root=None, origin="test", check_files=False)
    chosen = frame.iloc[ClassRetrievalEvaluator(LABELS, per_class=None).scored(table)][list(LABELS)]
    assert ((chosen == 1).sum(axis=1) == 1).all()
    assert not (chosen == -1).any(axis=None)


def test_the_same_studies_are_chosen_whatever_else_is_there():
    one, two = study_table(120, 1), study_table(120, 2)
    evaluator = ClassRetrievalEvaluator(LABELS, per_class=3)
    studies = [set(table.frame["study"].iloc[evaluator.scored(table)]) for table in (one, two)]
    assert studies[0] == studies[1]
    assert len(studies[0]) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["Effusion"]}, "at least 2 different classes"),
        ({"classes": LABELS, "per_class": 0}, "1 study of each"),
    ],
)
def test_options_that_cannot_be_right(options, message):
    with pytest.raises(ConfigError, match=message):
        ClassRetrievalEvaluator(**options)


def test_an_unknown_class_is_refused_before_anything_is_trained():
    with pytest.raises(ConfigError, match=r"names the label 'Efusion'; did you mean 'Effusion'"):
        ClassRetrievalEvaluator(["Efusion", "Cardiomegaly"]).scored(study_table())


def test_a_split_of_one_class_offers_no_classes():
    frame = study_table(120, 1).frame
    frame = pd.concat([frame[(frame["split"] != "test") | (frame["Effusion"] == 1)]], ignore_index=True)
    table = StudyTable.build(frame, LABELS, split_name="made", root=None, origin="test", check_files=False)
    with pytest.raises(DataError, match=r"studies of fewer than two of the classes"):
        ClassRetrievalEvaluator(LABELS).scored(table)

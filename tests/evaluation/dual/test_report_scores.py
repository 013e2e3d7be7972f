"""Is the retrieved report scored as scikit-learn scores labels, and are published scores asked of their package?"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from dual_doubles import SAYINGS, Towers, evaluated, parts_of, study_table
from sklearn.metrics import f1_score

from cxrvl.data.labeler import OBSERVATIONS
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.dual import ReportScoresEvaluator
from cxrvl.evaluation.predictions import read_predictions, write_predictions
from cxrvl.evaluation.report_metrics import F1, FIVE
from cxrvl.evaluation.row_statistics import Scoring, scored_images, statistics

UNSURE = SAYINGS | {"": "Possible left pleural effusion."}


def scored(uncertain="ones", knows=0.6, **options):
    table = study_table(120, 1, sayings=UNSURE)
    evaluator = ReportScoresEvaluator(uncertain=uncertain, bootstrap=20, **options)
    return evaluator, evaluated(evaluator, table, Towers(table, knows=knows))


@pytest.mark.parametrize("uncertain", ["ones", "zeros"])
def test_f1_is_sklearns(uncertain):
    evaluator, predictions = scored(uncertain)
    metrics, frame = evaluator.metrics(predictions), predictions.frame
    yes = (1, -1) if uncertain == "ones" else (1,)
    true, found = (
        np.stack([frame[f"{side}/{name}"].isin(yes) for name in OBSERVATIONS], 1) for side in ("target", "found")
    )
    claimed = (true | found).any(axis=0)
    assert 0 < metrics["mean"]["micro_f1_14"] < 1
    assert metrics["mean"]["micro_f1_14"] == pytest.approx(f1_score(true, found, average="micro"))
    expected = f1_score(true[:, claimed], found[:, claimed], average="macro")
    assert metrics["mean"]["macro_f1_14"] == pytest.approx(expected)
    assert metrics["mean"]["labels"] == claimed.sum() == 14 - len(metrics["undefined"])
    five = [OBSERVATIONS.index(name) for name in FIVE]
    assert metrics["mean"]["micro_f1_5"] == pytest.approx(f1_score(true[:, five], found[:, five], average="micro"))
    for entry in metrics["labels"].values():
        assert entry["f1_low"] <= entry["f1"] <= entry["f1_high"]
    assert metrics["mean"]["micro_f1_5_low"] <= metrics["mean"]["micro_f1_5"] <= metrics["mean"]["micro_f1_5_high"]
    assert (metrics["images"], metrics["pool"]) == (40, 40)


def test_uncertain_findings_count_as_asked():
    (_, predictions), values = scored(), []
    for uncertain in ("ones", "zeros"):
        values.append(
            ReportScoresEvaluator(uncertain=uncertain, bootstrap=5).metrics(predictions)["mean"]["micro_f1_5"]
        )
    assert values[0] != values[1]


@pytest.mark.parametrize("expand", [True, False])
def test_abbreviations_are_written_out_before_the_labeler_reads(expand):
    terse = UNSURE | {"Cardiomegaly": "Sev. CMG. No PLEFF.", "Effusion": "Left pleff, tiny."}
    table = study_table(120, 1, sayings=terse)
    evaluator = ReportScoresEvaluator(expand_abbreviations=expand, bootstrap=5)
    read = evaluated(evaluator, table, Towers(table, knows=1.0)).frame
    said = table.frame.set_index("image").loc[read["image"], ["Cardiomegaly", "Effusion"]].to_numpy() == 1
    only = said.sum(axis=1) == 1
    found = read[["target/Cardiomegaly", "target/Pleural Effusion"]].to_numpy() == 1
    assert only.any()
    assert (found[only] == (said[only] if expand else False)).all()


def test_an_oracle_says_what_the_true_report_says():
    evaluator, predictions = scored(knows=1.0)
    assert (predictions.frame["found"] == "made/" + predictions.frame["study"]).all()
    assert evaluator.metrics(predictions)["mean"]["micro_f1_14"] == 1.0


def test_reports_of_another_split_are_retrieved_where_asked(tmp_path):
    table = study_table(120, 1, sayings=UNSURE)
    evaluator = ReportScoresEvaluator(pool_split="train", bootstrap=5)
    assert evaluator.splits == ("test", "train")
    predictions = evaluated(evaluator, table, Towers(table, knows=0.9))
    assert set(predictions.frame["split"]) == {"test"}
    trained = set("made/" + table.frame.loc[table.frame["split"] == "train", "study"])
    assert set(predictions.frame["found"]) <= trained
    assert evaluator.metrics(predictions)["pool"] == 40
    path = tmp_path / "reports.parquet"
    write_predictions(path, predictions)
    read = read_predictions(path, "reports")
    assert evaluator.metrics(read) == evaluator.metrics(predictions)
    assert b"effusion." not in path.read_bytes()


def test_a_replicate_is_f1_of_the_rows_drawn():
    rng = np.random.default_rng(0)
    true, found, numbers = rng.random(50) < 0.4, rng.random(50) < 0.5, rng.integers(0, 11, 50)
    counts = rng.integers(0, 3, (11, 1)).astype(np.float32)
    times = counts[numbers, 0].astype(int)
    ours = F1((true & found).astype(float), true.astype(float) + found, numbers, 11)(counts)
    assert ours == pytest.approx(f1_score(np.repeat(true, times), np.repeat(found, times)))
    assert np.isnan(F1(np.zeros(50), np.zeros(50), numbers, 11)(counts)).all()


def test_tables_read_f1_over_the_labels_of_their_group():
    evaluator, predictions = scored()
    metrics = evaluator.metrics(predictions)
    everyone = np.ones((statistics(predictions, "report_f1", Scoring(), FIVE)[1], 1), dtype=np.float32)
    found = statistics(predictions, "report_f1", Scoring(), FIVE)[0]
    assert found["Cardiomegaly"](everyone)[0] == pytest.approx(metrics["labels"]["Cardiomegaly"]["f1"])
    micro = statistics(predictions, "report_micro_f1", Scoring(), FIVE)[0]
    values = [float(one(everyone)[0]) for one in micro.values()]
    assert values == pytest.approx([metrics["mean"]["micro_f1_5"]] * 5)
    with pytest.raises(DataError, match=r"report_green was not computed"):
        statistics(predictions, "report_green", Scoring(), FIVE)
    assert "text" in scored_images(predictions, "report_f1", Scoring(), FIVE)


class Package:
    """Stands for RadEval: ROUGE-L is 1 where the texts are the same."""

    def __init__(self, metrics, per_sample):
        assert metrics == ["rouge"]
        assert per_sample

    def __call__(self, refs, hyps):
        same = [float(one == other) for one, other in zip(refs, hyps, strict=True)]
        return {"rouge1": same[:1], "rougeL": same}


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("radeval")
    module.RadEval, module.__spec__ = Package, SimpleNamespace()
    monkeypatch.setitem(sys.modules, "radeval", module)
    return module


def test_published_scores_are_asked_per_report(package):
    evaluator, predictions = scored(scores=["rouge"])
    same = predictions.frame["found"] == "made/" + predictions.frame["study"]
    metrics = evaluator.metrics(predictions)
    assert metrics["mean"]["rouge"] == pytest.approx(same.mean())
    found, count = statistics(predictions, "report_rouge", Scoring(), ["Edema"])
    assert found["Edema"](np.ones((count, 1), dtype=np.float32))[0] == pytest.approx(same.mean())


def test_another_version_of_the_package_is_named(package):
    class Other(Package):
        def __call__(self, refs, hyps):
            return {"rouge_l": [1.0]}

    package.RadEval = Other
    with pytest.raises(RunError, match=r"gave rouge_l, expected 'rougeL' with 40 numbers"):
        scored(scores=["rouge"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": ["gren"]}, "there is no 'gren'; did you mean 'green'"),
        ({"scores": ["green"]}, r"green needs the package radeval.*scores: \[\]"),
        ({"uncertain": "one"}, "did you mean 'ones'"),
        ({"score_split": "val"}, "not among its splits"),
    ],
)
def test_options_that_cannot_be_right(options, message):
    with pytest.raises(ConfigError, match=message):
        ReportScoresEvaluator(**options)


def test_images_without_reports_find_none():
    with pytest.raises(RunError, match=r"no pairs of both"):
        parts_of(ReportScoresEvaluator(), study_table(), paired=False)

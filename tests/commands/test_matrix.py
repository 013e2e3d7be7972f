"""Which runs are one row of a matrix, and do its cells hold what the evaluation was asked for?"""

import argparse
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from dual_doubles import Towers, evaluated, study_table

from cxrvl.commands import matrix as command
from cxrvl.commands.matrix import _record, _rows, matrix
from cxrvl.errors import ConfigError
from cxrvl.evaluation.dual import ImageTextRetrievalEvaluator, ReportScoresEvaluator
from cxrvl.evaluation.report_metrics import ReportOptions, report_metrics
from cxrvl.files import write_json, write_yaml
from cxrvl.runs.store import Run

SCIENCE = {"data": {"batch_size": 4, "num_workers": 0}, "model": {"freeze": []}, "task": {"seed": 0}, "seed": 0,
           "trainer": {"max_epochs": 1}, "callbacks": {}, "threads": 1, "name": "pairs"}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    def run(number, split="a", **changed):
        one = Run(tmp_path / "runs" / f"{number:016x}")
        one.folder.mkdir(parents=True)
        write_yaml(one.folder / "config.yaml", {**SCIENCE, **changed})
        write_json(one.folder / "status.json", {"state": "done", "split_name": "made", "split_sha256": split})
        return one

    return run


def test_runs_that_differ_in_their_seed_alone_are_one_row(run):
    start = {"run": ["experiment=phantom/text_llama", "seed={}"], "parts": {"text_tower": "encoder"}}

    def seeded(number, seed):
        begun = {**start, "run": [word.format(seed) for word in start["run"]]}
        return run(number, seed=seed, task={"seed": seed}, init_from=begun, data={"batch_size": 4, "num_workers": seed})

    same = [seeded(number, number) for number in (1, 2, 3)]
    others = [
        run(4, model={"freeze": ["text_tower"]}), run(5, split="b"), run(6, data={"batch_size": 8, "num_workers": 0}),
    ]  # fmt: skip
    assert _rows([*same[:2], *others, same[2]]) == [same, *([one] for one in others)]


def options(**given):
    about = {"runs": None, "run": ["1"], "data": ["made"], "overrides": [], "split": "test", "out": None}
    return argparse.Namespace(**about, **given)


def test_a_run_named_twice_is_not_two_seeds(run, monkeypatch):
    one = run(7)
    monkeypatch.setattr(command, "run_store", lambda _: SimpleNamespace(find=lambda prefix: one))
    asked = options(evaluation="retrieval", metric="mrr")
    asked.run = ["0", one.run_id]
    with pytest.raises(ConfigError, match="is named twice"):
        matrix(asked)


@pytest.fixture
def told(monkeypatch):
    """What a cell says of predictions that are there."""

    def told(predictions, evaluator, metric):
        said = {"_target_": f"cxrvl.evaluation.dual.{type(evaluator).__name__}", "uncertain": "zeros"}
        monkeypatch.setattr(command, "config_on", lambda *_: {"evaluation": {"it": said}})
        monkeypatch.setattr(command, "predictions_on", lambda *_: predictions)
        one = SimpleNamespace(run_id="ab", status=dict, config=lambda: {"name": "pairs"})
        return _record([one], ["made"], options(evaluation="it", metric=metric))

    return told


def reports():
    """Predictions of reports in which half of one finding is uncertain."""
    table = study_table(60, 1)
    evaluator = ReportScoresEvaluator(bootstrap=20, uncertain="zeros")
    predictions = evaluated(evaluator, table, Towers(table))
    claimed = np.flatnonzero(predictions.frame["target/Cardiomegaly"] == 1)
    predictions.frame.loc[claimed[::2], "target/Cardiomegaly"] = -1.0
    return evaluator, predictions


def test_uncertain_findings_count_as_the_evaluation_says(told):
    evaluator, predictions = reports()
    expected = {
        kind: report_metrics(predictions, ReportOptions(uncertain=kind, bootstrap=20))["mean"]["micro_f1_14"]
        for kind in ("ones", "zeros")
    }
    assert expected["ones"] != pytest.approx(expected["zeros"])
    predictions = replace(predictions, info={"split_sha256": "x"})
    assert told(predictions, evaluator, "report_micro_f1")["value"] == pytest.approx(expected["zeros"])


def test_the_size_of_the_pools_and_what_the_mean_is_over_are_told(told):
    table = study_table(60, 2)
    evaluator = ImageTextRetrievalEvaluator(
        {"images": {"query": "image"}, "reports": {"query": "report"}}, bootstrap=20
    )
    predictions = evaluated(evaluator, table)
    predictions = replace(predictions, info={"split_sha256": "x"})
    cell = told(predictions, evaluator, "recall_at_5")
    assert (cell["images"], cell["pool"]) == (40, "20 and 40")
    assert (cell["over"], cell["undefined"]) == ("images; reports", "")
    page = command._table(pd.DataFrame([cell]), options(evaluation="it", metric="recall_at_5"))
    assert "pool of 20 and 40" in str(page.columns[1].header)


def test_a_metric_of_another_kind_is_refused_before_anything_is_computed(told):
    with pytest.raises(ConfigError, match="auroc is read off predictions of kind 'findings', and evaluation 'it'"):
        told(None, ImageTextRetrievalEvaluator({"images": {"query": "image"}}), "auroc")

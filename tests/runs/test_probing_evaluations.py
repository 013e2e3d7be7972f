"""Evaluations that ask more of a network than one output: through a real run, each computed once, beside the others."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from cxrvl.runs import attend
from cxrvl.runs.identity import study_table
from cxrvl.runs.store import Run
from cxrvl.tables.generations_figure import Looked, generations_figure, heads_figure

RUN = (
    "data=phantom", "model=distl_vit_micro", "task=classification", "data.source.images=160", "data.store.size=32",
    "data.batch_size=8", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none", "evaluation=self_training",
    "evaluation.teacher=null", "evaluation.findings.bootstrap=20", "evaluation.attention.bootstrap=20",
    "evaluation.robustness.bootstrap=20", "evaluation.robustness.corruptions=[noise,jpeg]",
    "evaluation.robustness.severities=[1,5]",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(cli_in, tmp_path_factory):
    cli = cli_in(tmp_path_factory.mktemp("probing"))
    cli("train", *RUN, "evaluation.robustness=null")
    before = {path.name: path.stat().st_mtime_ns for path in (cli.only_run() / "predictions").iterdir()}
    out = cli("train", *RUN)
    return cli, out, before


def rows_of(folder, name):
    (path,) = (folder / "predictions").glob(f"{name}-*.parquet")
    return pd.read_parquet(path)


def test_a_new_evaluation_computes_no_other_again(run):
    cli, out, before = run
    assert "was trained before; evaluated now: robustness" in out
    after = {path.name: path.stat().st_mtime_ns for path in (cli.only_run() / "predictions").iterdir()}
    assert {name: after[name] for name in before} == before
    assert sorted(name.partition("-")[0] for name in after) == ["attention", "findings", "robustness"]


def test_clean_rows_are_the_findings_and_corrupted_ones_are_not(run):
    folder = run[0].only_run()
    findings, robustness = rows_of(folder, "findings"), rows_of(folder, "robustness")
    findings = findings[findings["split"] == "test"].reset_index(drop=True)
    conditions = {key: part.reset_index(drop=True) for key, part in robustness.groupby(["corruption", "severity"])}
    assert sorted(conditions) == [("clean", 0), ("jpeg", 1), ("jpeg", 5), ("noise", 1), ("noise", 5)]
    columns = [name for name in findings if name.startswith(("logit/", "target/")) or name == "image"]
    pd.testing.assert_frame_equal(conditions["clean", 0][columns], findings[columns])
    logits = [name for name in columns if name.startswith("logit/")]
    moved = {key: float((part[logits] - findings[logits]).abs().to_numpy().mean()) for key, part in conditions.items()}
    assert 0 < moved["noise", 1] < moved["noise", 5]
    assert 0 < moved["jpeg", 1] < moved["jpeg", 5]


def test_metrics_and_page_hold_all_of_them(run):
    folder = run[0].only_run()
    values = {entry["name"]: entry["values"] for entry in json.loads((folder / "metrics.json").read_text()).values()}
    assert set(values["robustness"]["corruptions"]) == {"noise", "jpeg"}
    clean = values["robustness"]["clean"]["mean"]["auroc"]
    assert clean == pytest.approx(values["findings"]["mean"]["auroc"])
    attention = rows_of(folder, "attention")
    assert values["attention"]["mean"]["chance"] == pytest.approx(
        attention.drop_duplicates(["image", "label"]).groupby("label")["chance"].mean().mean(), rel=1e-5
    )
    assert set(attention["head"]) == {0, 1, 2}
    assert np.isfinite(attention["in_box"]).all()
    page = (folder / "pages/index.html").read_text()
    assert "mean of all corruptions" in page
    assert "What the CLS token attends to" in page


def test_another_rule_costs_no_prediction_and_an_output_that_is_not_there_is_said(run):
    cli, _, _ = run
    folder = cli.only_run()
    point = "+evaluation.findings.operating_points.strict={rule: specificity, target: 0.95}"
    before = sorted(path.name for path in (folder / "predictions").iterdir())
    cli("evaluate", "--run", folder.name, point)
    entries = json.loads((folder / "metrics.json").read_text()).values()
    findings = next(entry["values"] for entry in entries if entry["name"] == "findings")
    assert set(findings["labels"]["Effusion"]["operating_points"]) == {"sensitivity_90", "strict"}
    assert sorted(path.name for path in (folder / "predictions").iterdir()) == before
    out = cli("evaluate", "--run", folder.name, "evaluation.robustness.output=teacher_logits", code=2)
    assert "scores the output 'teacher_logits', which this task does not give; it gives logits" in out


def test_attention_is_shown_beside_boxes_and_where_a_data_set_has_none(run, monkeypatch, tmp_path):
    folder = run[0].only_run()
    found = Run(folder)
    boxed = attend.cls_examples(found, found.config(), 3)
    assert boxed.maps.shape[:2] == (3, 3)
    assert all(boxed.boxes)
    assert not any(title.startswith("no ") for title in boxed.titles)

    def unboxed(config):
        table = study_table(config)
        return dataclasses.replace(table, frame=table.frame.assign(boxes=[[] for _ in range(len(table))]))

    monkeypatch.setattr(attend, "study_table", unboxed)
    plain = attend.cls_examples(found, found.config(), 20)
    assert plain.boxes == [[]] * 20
    assert len(set(plain.titles)) > len(boxed.titles)
    assert any(title.startswith("no ") for title in plain.titles)
    looked = {"T = 0": Looked(plain.images, plain.maps, plain.boxes, plain.titles)}
    generations_figure(looked, tmp_path / "generations.png", title="No boxes", synthetic=True)
    heads_figure(looked, tmp_path / "heads.png", title="No boxes", synthetic=True)
    assert imread(tmp_path / "generations.png").shape[0] > imread(tmp_path / "heads.png").shape[0]

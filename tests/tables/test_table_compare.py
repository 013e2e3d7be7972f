"""Are the numbers of a table right: means, intervals, tests, published values, and what is missing?"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxrvl.errors import DataError
from cxrvl.evaluation.comparison import compare_rows
from cxrvl.evaluation.statistics.delong import delong
from cxrvl.evaluation.statistics.multiple import holm
from cxrvl.tables.collect import RunFiles, collect
from cxrvl.tables.compare import compare
from cxrvl.tables.result import COMPARISON_COLUMNS, FRAME_COLUMNS, SEED_COLUMNS, TableResult
from cxrvl.tables.spec import Column, TableSpec

Runs = dict[tuple[str, int], RunFiles]
LABELS = ("Effusion", "Mass", "Nodule")


@pytest.fixture
def result(table: TableSpec, all_runs: Runs) -> TableResult:
    return compare(table, table.line(), collect(table.line(), all_runs))


def _areas(result: TableResult, runs: Runs, row: str) -> np.ndarray:
    """AUROC per seed and label, by scikit-learn from the written file."""
    frames = [pd.read_parquet(runs[row, seed].predictions["findings"]) for seed in result.line.seeds]
    return np.array([[roc_auc_score(f[f"target/{n}"], f[f"logit/{n}"]) for n in LABELS] for f in frames])


def test_means_and_sds_are_those_of_the_predictions(result: TableResult, all_runs: Runs) -> None:
    pair, everything = result.line.columns
    for row in ("none", "acm", "se"):
        areas = _areas(result, all_runs, row)
        for column, chosen in ((pair, areas[:, :2]), (everything, areas)):
            cell = result.cell(row, column)
            assert cell["mean"] == pytest.approx(chosen.mean(), abs=1e-9)
            assert cell["sd"] == pytest.approx(chosen.mean(axis=1).std(ddof=1), abs=1e-9)
            assert 0 <= cell["low"] < cell["mean"] < cell["high"] <= 1
            assert cell["n_seeds"] == 3
            assert cell["classes_entered"] == cell["classes_total"] == chosen.shape[1]
        labels = result.labels[result.labels["row"] == row].set_index("group")
        assert list(labels.index) == list(LABELS)
        np.testing.assert_allclose(labels["mean"].to_numpy(dtype=float), areas.mean(axis=0), atol=1e-9)


def test_every_run_and_label_has_its_own_interval(result: TableResult, all_runs: Runs) -> None:
    assert len(result.seeds) == 3 * 3 * 3
    record = result.seeds.query("row == 'acm' and seed == 1 and label == 'Mass'").iloc[0]
    frame = pd.read_parquet(all_runs["acm", 1].predictions["findings"])
    exact = delong(frame["logit/Mass"], frame["target/Mass"], frame["patient"].astype("category").cat.codes)
    assert (record["value"], record["low"], record["high"]) == pytest.approx((exact.auroc, exact.low, exact.high))
    assert record["interval_method"].startswith("Obuchowski")
    assert record["positives"] == (frame["target/Mass"] == 1).sum()
    assert (record["run"], record["commit"]) == ("acm-1", "c0ffeec0ffee")


def test_differences_and_tests_are_paired_and_corrected(result: TableResult, table: TableSpec, all_runs: Runs) -> None:
    tests = result.comparisons.set_index(["row", "against"])
    assert list(tests.index) == [("acm", "none"), ("se", "none"), ("acm", "se")]
    collected = collect(table.line(), all_runs)
    rows = {row: list(collected.of(row, "findings").values()) for row in ("none", "acm", "se")}
    alone = compare_rows(rows["acm"], rows["none"], ["Effusion", "Mass"], bootstrap=200)
    first = tests.loc[("acm", "none")]
    assert first["delta"] == pytest.approx(alone.difference)
    assert (first["low"], first["high"], first["p_raw"]) == pytest.approx((alone.low, alone.high, alone.p))
    np.testing.assert_allclose(tests["p_holm"], holm(tests["p_raw"].to_numpy()))
    assert first["p_holm"] < 0.05
    assert tests.loc[("se", "none")]["p_holm"] > 0.05
    pair, everything = result.line.columns
    cell = result.cell("acm", pair)
    assert (cell["delta"], cell["p_raw"], cell["p_holm"]) == (first["delta"], first["p_raw"], first["p_holm"])
    assert cell["delta"] == pytest.approx(cell["mean"] - result.cell("none", pair)["mean"])
    assert np.isnan(result.cell("none", pair)["delta"])
    untested = result.cell("acm", everything)
    assert untested["delta"] > 0
    assert np.isnan(untested["p_raw"])
    assert np.isnan(untested["p_holm"])


def test_the_same_question_has_the_same_answer(result: TableResult, table: TableSpec, all_runs: Runs) -> None:
    again = compare(table, table.line(), collect(table.line(), dict(reversed(all_runs.items()))))
    pd.testing.assert_frame_equal(result.frame, again.frame)
    pd.testing.assert_frame_equal(result.comparisons, again.comparisons)


def test_published_numbers_are_subtracted_only_within_a_split(result: TableResult) -> None:
    everything = result.line.columns[1]
    acm, none, se = (result.cell(row, everything) for row in ("acm", "none", "se"))
    assert acm["published"] == pytest.approx(0.854)
    assert acm["difference"] == pytest.approx(acm["mean"] - 0.854)
    assert acm["published_status"] == "verified"
    assert none["published_status"] == "unverified"
    assert se["published"] == pytest.approx(0.81)
    assert se["published_split"] == "random"
    assert np.isnan(se["difference"])
    assert se["difference_note"] == "other split"
    mass = result.labels.query("row == 'acm' and group == 'Mass'").iloc[0]
    assert mass["difference"] == pytest.approx(mass["mean"] - 0.8123)
    assert pd.isna(result.labels.query("row == 'se' and group == 'Mass'").iloc[0]["published"])


def test_a_part_of_a_split_is_another_split(
    table: TableSpec, write_run: Callable[..., RunFiles], make_findings: Callable[..., pd.DataFrame]
) -> None:
    part = "official (240 of 112,120 images)"
    frames = {(row, seed): make_findings(seed, 1.0) for row in ("none", "acm") for seed in (0, 1, 2)}
    runs = {key: write_run(*key, {"findings": frame}, split_name=part) for key, frame in frames.items()}
    result = compare(table, table.line(), collect(table.line(), runs))
    assert result.line.data_split == part
    cell = result.cell("acm", result.line.columns[1])
    assert cell["data_split"] == part
    assert cell["difference_note"] == "other split"
    assert np.isnan(cell["difference"])


def test_a_class_without_positives_is_left_out_and_counted(
    table: TableSpec, write_run: Callable[..., RunFiles], make_findings: Callable[..., pd.DataFrame]
) -> None:
    runs = {}
    for row in ("none", "acm"):
        for seed in (0, 1, 2):
            frame = make_findings(seed, 1.0 if row == "acm" else 0.0)
            frame["target/Mass"] = np.float32(0)
            runs[row, seed] = write_run(row, seed, {"findings": frame})
    line = table.line()
    result = compare(table, line, collect(line, runs))
    everything = result.cell("acm", line.columns[1])
    assert (everything["classes_entered"], everything["classes_total"]) == (2, 3)
    areas = result.seeds.query("row == 'acm' and label != 'Mass'")["value"]
    assert everything["mean"] == pytest.approx(areas.mean())
    assert everything["difference_note"] == "other classes"
    assert np.isnan(everything["difference"])
    assert result.seeds.query("label == 'Mass'")["value"].isna().all()
    assert any("AUROC does not exist for Mass" in text for text in result.warnings)


def test_missing_rows_stay_in_the_table(table: TableSpec, all_runs: Runs) -> None:
    line = table.line()
    fewer = {key: files for key, files in all_runs.items() if key[0] != "se" and key != ("acm", 2)}
    result = compare(table, line, collect(line, fewer))
    se, acm = result.cell("se", line.columns[0]), result.cell("acm", line.columns[0])
    assert (se["n_seeds"], acm["n_seeds"]) == (0, 2)
    assert np.isnan([se["mean"], se["low"], se["delta"], se["p_holm"]]).all()
    assert np.isfinite([acm["mean"], acm["delta"], acm["p_holm"]]).all()
    assert acm["p_holm"] == acm["p_raw"], "one test alone was made, so nothing is corrected"
    nothing = compare(table, line, collect(line, {}))
    assert nothing.n_images == 0
    assert nothing.frame["mean"].isna().all()
    assert len(nothing.frame) == 6


def test_one_seed_has_no_sd_and_says_so(table: TableSpec, all_runs: Runs) -> None:
    line = replace(table.line(), seeds=(0,))
    result = compare(table, line, collect(line, {key: files for key, files in all_runs.items() if key[1] == 0}))
    assert np.isnan(result.cell("acm", line.columns[0])["sd"])
    assert any("one seed" in text for text in result.warnings)


def _changed(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    if what == "image":
        return frame.assign(image=frame["image"].replace("0003.png", "9999.png"))
    if what == "patient":
        return frame.assign(patient=frame["patient"].where(frame.index != 3, "another"))
    return frame.assign(**{"target/Mass": frame["target/Mass"].where(frame.index != 3, 1 - frame["target/Mass"])})


@pytest.mark.parametrize(
    ("what", "told"), [("image", "2 images only in one"), ("patient", "other"), ("target", "other")]
)
def test_rows_on_other_data_are_an_error(
    table: TableSpec, all_runs: Runs, write_run: Callable[..., RunFiles], make_findings: Callable[..., pd.DataFrame],
    what: str, told: str,
) -> None:  # fmt: skip
    runs = dict(all_runs)
    for seed in (0, 1, 2):
        runs["acm", seed] = write_run("other", seed, {"findings": _changed(make_findings(seed, 1.0), what)})
    with pytest.raises(DataError, match=rf"rows 'none' and 'acm' were not scored on identical data: .*{told}"):
        compare(table, table.line(), collect(table.line(), runs))
    runs = dict(all_runs) | {("acm", 1): runs["acm", 1]}
    with pytest.raises(DataError, match="row 'acm'"):
        compare(table, table.line(), collect(table.line(), runs))


def test_a_group_with_an_unknown_label_is_an_error(table: TableSpec, all_runs: Runs) -> None:
    wrong = replace(table, groups={"pair": ("Effusion", "Hernia")})
    with pytest.raises(DataError, match=r"group 'pair' names \['Hernia'\]"):
        compare(wrong, wrong.line(), collect(wrong.line(), all_runs))


def test_marks_give_jafroc_and_pointing_game(
    table: TableSpec, write_run: Callable[..., RunFiles], make_marks: Callable[..., pd.DataFrame]
) -> None:
    columns = tuple(Column("marks", metric, "all", metric) for metric in ("jafroc", "pointing_game"))
    line = replace(table.line(), columns=columns, comparisons=(("acm", "none"),))
    runs: dict[Any, RunFiles] = {}
    for row, accuracy in (("none", 0.3), ("acm", 0.9)):
        for seed in (0, 1):
            runs[row, seed] = write_run(row, seed, {"marks": make_marks(seed, accuracy)}, kind="marks")
    result = compare(table, line, collect(line, runs))
    frame = make_marks(0, 0.9)
    lesion = frame[frame["entry"] == "lesion"].set_index(["image", "label"])
    marks = frame[(frame["entry"] == "mark") & (frame["target"] == 1)].set_index(["image", "label"])
    pointed = (marks["x"] == 0.5).groupby("label").mean()
    assert len(lesion) == len(marks)
    mine = result.seeds.query("row == 'acm' and seed == 0 and metric == 'pointing_game'").set_index("label")
    np.testing.assert_allclose(mine["value"], pointed.loc[mine.index])
    for column in columns:
        assert result.cell("acm", column)["delta"] > 0.1
    intervals = result.seeds
    assert ((intervals["low"] <= intervals["value"]) & (intervals["value"] <= intervals["high"])).all()


def test_columns_are_the_documented_ones(result: TableResult) -> None:
    assert tuple(result.frame.columns) == FRAME_COLUMNS
    assert tuple(result.comparisons.columns) == COMPARISON_COLUMNS
    assert tuple(result.seeds.columns) == SEED_COLUMNS
    assert (result.n_images, result.n_patients) == (240, result.frame["n_patients"].iloc[0])


def test_a_table_needs_no_torch_and_few_seconds(table: TableSpec, all_runs: Runs) -> None:
    modules = ["collect", "compare", "render", "spec", "figures", "attention_figure"]
    modules += ["robustness_figure", "generations_figure", "illustrate"]
    code = "import sys\n" + "".join(f"import cxrvl.tables.{name}\n" for name in modules)
    code += "assert 'torch' not in sys.modules, 'torch'\nassert 'matplotlib' not in sys.modules, 'matplotlib'\n"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    larger = replace(table, resamples=2000)
    start = time.process_time()
    compare(larger, larger.line(), collect(larger.line(), all_runs))
    assert time.process_time() - start < 5

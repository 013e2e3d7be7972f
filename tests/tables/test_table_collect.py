"""Do only the right predictions enter a table, and is what is missing said?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.files import write_json
from cxrvl.tables.collect import RunFiles, collect
from cxrvl.tables.spec import TableSpec

Runs = dict[tuple[str, int], RunFiles]


def test_collects_all_runs_without_a_word(table: TableSpec, all_runs: Runs) -> None:
    collected = collect(table.line(), all_runs)
    assert collected.warnings == ()
    assert list(collected.of("acm", "findings")) == [0, 1, 2]
    assert collected.runs["acm", 1].run_id == "acm-1"
    assert collected.runs["acm", 1].commit == "c0ffeec0ffee"
    assert collected.of("acm", "marks") == {}


def test_missing_seeds_and_rows_are_said(table: TableSpec, all_runs: Runs) -> None:
    fewer = {key: files for key, files in all_runs.items() if key not in {("acm", 1), ("acm", 2)} and key[0] != "se"}
    warnings = collect(table.line(), fewer).warnings
    assert any("Plain_net + ACM: seed 1, 2 missing" in text and "1 of 3 seeds" in text for text in warnings)
    assert any("SE: no seed computed" in text for text in warnings)
    assert len(warnings) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"commit": "beef" * 10, "diff": "", "packages": {}},
        {"commit": "c0ffee" * 6, "diff": "+ a change", "packages": {}},
        {"commit": None, "diff": None, "packages": {"cxrvl": "0.1.0"}},
    ],
)
def test_different_code_is_a_warning(table: TableSpec, all_runs: Runs, other: dict[str, Any]) -> None:
    write_json(all_runs["se", 2].folder / "environment.json", other)
    (warning,) = collect(table.line(), all_runs).warnings
    assert "different code" in warning
    assert "SE (2)" in warning


def test_refuses_what_is_not_in_the_line(table: TableSpec, all_runs: Runs) -> None:
    files = all_runs["acm", 0]
    with pytest.raises(ConfigError, match="no row 'cc'"):
        collect(table.line(), {("cc", 0): files})
    with pytest.raises(ConfigError, match="no seed 7"):
        collect(table.line(), {("acm", 7): files})
    with pytest.raises(ConfigError, match="uses no evaluation 'finding'; did you mean 'findings'"):
        collect(table.line(), {("acm", 0): RunFiles(files.folder, {"finding": files.predictions["findings"]})})


def test_refuses_another_seed_split_kind_or_a_cut_evaluation(
    table: TableSpec,
    write_run: Callable[..., RunFiles],
    make_findings: Callable[..., Any],
    make_marks: Callable[..., Any],
) -> None:
    line, frame = table.line(), make_findings(0, 1.0)
    wrong_seed = write_run("acm", 1, {"findings": frame})
    with pytest.raises(RunError, match="given as seed 0 of 'acm' but its config says 1"):
        collect(line, {("acm", 0): wrong_seed})
    other_split = write_run("acm", 0, {"findings": frame}, split_name="chexnet_random")
    with pytest.raises(DataError, match=r"split 'chexnet_random'.*never compared across splits"):
        collect(line, {("acm", 0): other_split})
    part = write_run("none", 0, {"findings": frame}, split_name="official (240 of 112,120 images)")
    whole = write_run("acm", 0, {"findings": frame})
    assert collect(line, {("none", 0): part}).split_name == "official (240 of 112,120 images)"
    with pytest.raises(DataError, match=r"different splits: 'official' \(row 'acm' seed 0\); 'official \(240"):
        collect(line, {("none", 0): part, ("acm", 0): whole})
    cut = write_run("acm", 0, {"findings": frame}, complete=False)
    with pytest.raises(DataError, match="cut evaluation"):
        collect(line, {("acm", 0): cut})
    marks = write_run("acm", 0, {"findings": make_marks(0, 0.5)}, kind="marks")
    with pytest.raises(DataError, match=r"kind 'marks'.*computes findings metrics"):
        collect(line, {("acm", 0): marks})
    unscored = write_run("acm", 0, {"findings": frame.assign(split="test")})
    unscored.predictions["findings"].unlink()
    with pytest.raises(DataError, match="no such predictions"):
        collect(line, {("acm", 0): unscored})


@pytest.mark.parametrize("name", ["config.yaml", "environment.json"])
def test_a_run_folder_without_its_record_is_refused(table: TableSpec, all_runs: Runs, name: str) -> None:
    (all_runs["acm", 0].folder / name).unlink()
    with pytest.raises(RunError, match=f"run acm-0 has no {name}"):
        collect(table.line(), all_runs)


def test_a_split_that_was_not_scored(table: TableSpec, all_runs: Runs) -> None:
    with pytest.raises(DataError, match="no image of split 'val'"):
        collect(replace(table.line(), score_split="val"), all_runs)

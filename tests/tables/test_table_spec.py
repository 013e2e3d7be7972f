"""Is a table's description read as written, and every mistake named with its place?"""

from pathlib import Path

import pytest

from cxrvl.data.phantom.cohort import ASYMMETRY_FINDINGS, FINDINGS
from cxrvl.errors import ConfigError
from cxrvl.tables.spec import TableSpec

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


def _with(folder: Path, old: str, new: str) -> TableSpec:
    path = folder / "table.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return TableSpec.load(folder)


def test_reads_a_whole_table(table: TableSpec) -> None:
    line = table.line("main")
    assert table.name == "made_up"
    assert table.synthetic
    assert table.resamples == 200
    assert table.groups == {"pair": ("Effusion", "Mass")}
    assert [row.name for row in line.rows] == ["none", "acm", "se"]
    assert line.seeds == (0, 1, 2)
    assert line.score_split == "test"
    assert [column.key for column in line.columns] == ["findings/auroc:pair", "findings/auroc:all"]
    assert [column.tested for column in line.columns] == [True, False]
    assert line.evaluations == ("findings",)
    assert line.comparisons == (("acm", "none"), ("se", "none"), ("acm", "se"))


def test_comparisons_default_to_every_row_against_the_baseline(table_folder: Path) -> None:
    spec = _with(table_folder, 'comparisons = [["acm", "none"], ["se", "none"], ["acm", "se"]]\n', "")
    assert spec.line().comparisons == (("acm", "none"), ("se", "none"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("synthetic =", "syntetic =", r"unknown key 'syntetic'; did you mean 'synthetic'\?"),
        ("baseline =", "base_line =", "key 'baseline' is missing"),
        ('notes = ["A note."]', 'noets = ["A note."]', r"line.main: unknown key 'noets'; did you mean 'notes'\?"),
        ('title = "AUROC, pair" }', 'titel = "AUROC, pair" }', r"columns\[0\]: unknown key 'titel'"),
        ('label = "SE" }', 'lable = "SE" }', r"rows\[2\]: key 'label' is missing"),
        ('baseline = "none"', 'baseline = "non"', r"'non' is not among the rows; did you mean 'none'\?"),
        ('["acm", "se"]]', '["acm", "sse"]]', r"'sse' is not among the rows; did you mean 'se'\?"),
        ('["acm", "se"]]', '["acm", "acm"]]', "two different row names"),
        ('metric = "auroc", group = "pair"', 'metric = "auroq", group = "pair"', r"'auroq'; did you mean 'auroc'\?"),
        ('group = "pair"', 'group = "pairs"', r"unknown label group 'pairs'; did you mean 'pair'\?"),
        ('group = "pair"', 'group = "all"', "metric and group occur twice"),
        ('pair = ["Effusion", "Mass"]', 'all = ["Effusion"]', "'all' is reserved"),
        ('pair = ["Effusion", "Mass"]', "pair = []", "non-empty list of strings"),
        ("seeds = [0, 1, 2]", "seeds = [0, 0]", "different whole numbers"),
        ("seeds = [0, 1, 2]", "seeds = [0.5]", "different whole numbers"),
        ("seeds = [0, 1, 2]", "seeds = [true]", "different whole numbers"),
        ("resamples = 200", "resamples = 5", "a whole number >= 100"),
        ("resamples = 200", 'uncertain = "drop"', "unknown value 'drop'"),
        ("synthetic = true", 'synthetic = "yes"', "true or false"),
        ('name = "se"', 'name = "acm"', "row name occurs twice"),
        ('title = "A table"', 'title = ""', "non-empty string"),
        ('title = "A table"', "title = ", "not valid TOML"),
    ],
)
def test_names_every_mistake(table_folder: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        _with(table_folder, old, new)
    assert "made_up/table.toml" in str(caught.value)


def test_a_line_on_request_is_asked_for_by_its_name_alone(table_folder: Path) -> None:
    more = (table_folder / "table.toml").read_text(encoding="utf-8").partition("[line.main]")[2]
    spec = _with(table_folder, "[line.main]", f"[line.long]\non_request = true{more}\n[line.main]")
    assert [line.name for line in spec.asked()] == ["main"]
    assert [line.name for line in spec.asked("long")] == ["long"]
    with pytest.raises(ConfigError, match="every line is on_request"):
        _with(table_folder, "[line.main]", "[line.main]\non_request = true")


def test_missing_table_and_line(tmp_path: Path, table: TableSpec) -> None:
    with pytest.raises(ConfigError, match=r"table.toml not found"):
        TableSpec.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"no line 'mian'; did you mean 'main'\?"):
        table.line("mian")
    with pytest.raises(ConfigError, match=r"no row 'amc'"):
        table.line().row("amc")


def test_a_table_of_several_lines_asks_which() -> None:
    spec = TableSpec.load(EXPERIMENTS / "acm_chestxray14")
    with pytest.raises(ConfigError, match="several lines: resnet50, densenet121, subset; choose one with LINE="):
        spec.line()


@pytest.mark.parametrize("name", sorted(path.parent.name for path in EXPERIMENTS.glob("*/table.toml")))
def test_every_committed_table_loads_and_says_what_it_is(name: str) -> None:
    spec = TableSpec.load(EXPERIMENTS / name)
    readme = (EXPERIMENTS / name / "README.md").read_text(encoding="utf-8")
    for line in spec.lines.values():
        assert line.question
        assert f"LINE={line.name}" in readme


def test_phantom_groups_are_the_generators_own() -> None:
    spec = TableSpec.load(EXPERIMENTS / "phantom")
    assert spec.synthetic
    assert set(spec.groups["asymmetry"]) == set(ASYMMETRY_FINDINGS)
    assert set(spec.groups["asymmetry"]) | set(spec.groups["other"]) == set(FINDINGS)
    assert not set(spec.groups["asymmetry"]) & set(spec.groups["other"])
    assert len(spec.line("acm").seeds) >= 3

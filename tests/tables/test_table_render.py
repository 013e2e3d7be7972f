"""Do all forms of a table say the same numbers, marks and warnings?"""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cxrvl.tables import cells, latex
from cxrvl.tables.collect import RunFiles, collect
from cxrvl.tables.compare import compare
from cxrvl.tables.render import csv, markdown, terminal, write_tables
from cxrvl.tables.result import TableResult
from cxrvl.tables.spec import TableSpec

Runs = dict[tuple[str, int], RunFiles]


@pytest.fixture
def result(table: TableSpec, all_runs: Runs) -> TableResult:
    return compare(table, table.line(), collect(table.line(), all_runs))


@pytest.fixture
def holey(table: TableSpec, all_runs: Runs) -> TableResult:
    """The row se was never computed, acm lacks a seed."""
    fewer = {key: files for key, files in all_runs.items() if key[0] != "se" and key != ("acm", 2)}
    return compare(table, table.line(), collect(table.line(), fewer))


def _printed(result: TableResult, **options: bool) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(terminal(result, **options))
    return stream.getvalue()


def _pipe_tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Title -> rows of every Markdown table, escapes undone."""
    tables: dict[str, list[dict[str, str]]] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not re.fullmatch(r"\| (-+:? \| )*-+:? \|", line):
            continue
        title = re.sub(r"\\(.)", r"\1", lines[number - 3].strip("*"))
        head, *body = ([re.sub(r"\\(.)", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
                       for row in [lines[number - 1], *_until_blank(lines[number + 1 :])])  # fmt: skip
        assert all(len(row) == len(head) for row in body)
        tables[title] = [dict(zip(head, row, strict=True)) for row in body]
    return tables


def _until_blank(lines: list[str]) -> list[str]:
    return lines[: lines.index("")] if "" in lines else lines


def _number(text: str) -> float:
    return float(text.replace("−", "-").rstrip("†"))


def test_markdown_holds_the_frames_numbers(result: TableResult) -> None:
    tables = _pipe_tables(markdown(result))
    for column, title in zip(result.line.columns, list(tables)[:2], strict=True):
        assert (
            title
            == f"{column.title} ({2 if column.group == 'pair' else 3} of {2 if column.group == 'pair' else 3} classes)"
        )
        assert [row["Row"] for row in tables[title]] == ["Plain_net", "Plain_net + ACM", "SE"]
        for row, shown in zip(("none", "acm", "se"), tables[title], strict=True):
            cell = result.cell(row, column)
            mean, sd = map(_number, shown["Mean ± sd"].split(" ± "))
            assert (mean, sd) == pytest.approx((100 * cell["mean"], 100 * cell["sd"]), abs=0.00501)
            low, high = map(_number, shown["95 % interval"].strip("[]").split(", "))
            assert (low, high) == pytest.approx((100 * cell["low"], 100 * cell["high"]), abs=0.00501)
            if row == "none":
                assert shown["Δ to Plain_net"] == "baseline"
                continue
            delta, dlow, dhigh = map(_number, re.findall(r"[+−]?\d+\.\d\d", shown["Δ to Plain_net"]))
            assert delta == pytest.approx(100 * cell["delta"], abs=0.00501)
            assert (dlow, dhigh) == pytest.approx((100 * cell["delta_low"], 100 * cell["delta_high"]), abs=0.00501)
            if column.tested and cell["p_holm"] >= 0.001:
                assert float(shown["p (Holm)"]) == pytest.approx(cell["p_holm"], abs=0.000501)
    whole = tables[list(tables)[1]]
    assert [row["Published"] for row in whole] == ["80.12†", "85.4 ± 0.2", "81.00"]
    assert whole[2]["Ours − published"] == "other split"
    ours = result.cell("acm", result.line.columns[1])
    assert _number(whole[1]["Ours − published"]) == pytest.approx(100 * (ours["mean"] - 0.854), abs=0.00501)
    assert {row["p (Holm)"] for row in whole} == {"", "not tested"}


def test_markdown_holds_labels_comparisons_and_context(result: TableResult) -> None:
    tables = _pipe_tables(markdown(result))
    labels = tables["AUROC per finding, mean ± sd over seeds"]
    assert [row["Finding"] for row in labels] == ["Effusion", "Mass", "Nodule"]
    assert [row["Plain_net + ACM, published"] for row in labels] == ["—", "81.23", "—"]
    (further,) = tables["Further comparisons"]
    assert further["Rows"] == "Plain_net + ACM against SE"
    (context,) = tables["Published elsewhere, for context; never subtracted from ours"]
    assert (context["System"], context["Published"], context["Split"]) == ("Other net", "79.9", "random")


def test_csv_reads_back_unrounded(result: TableResult) -> None:
    back = pd.read_csv(io.StringIO(csv(result)))
    assert list(back.columns) == list(result.frame.columns)
    for name in ("mean", "sd", "low", "high", "delta", "p_holm", "published", "difference"):
        np.testing.assert_allclose(back[name], result.frame[name].astype(float), rtol=1e-12)
    assert back["synthetic"].all()


def test_every_form_says_synthetic_split_seeds_and_unverified(result: TableResult) -> None:
    for text in (markdown(result), _printed(result), latex.latex(cells.document(result))):
        assert "Synthetic images: a mechanism test, not clinical evidence." in text
        assert "Split: official, scored on test (240 images" in text
        assert "Seeds: 0, 1, 2." in text
        assert "Unverified: not checked against its source." in text
        assert "A note." in text
        assert "Holm's correction over 3 comparisons" in text
        assert "Published: the paper; split official; single run (verified)." in text


def test_what_is_missing_is_a_dash_and_a_warning(holey: TableResult) -> None:
    rows = next(iter(_pipe_tables(markdown(holey)).values()))
    assert rows[1]["Seeds"] == "2 of 3"
    assert rows[2] == {
        "Row": "SE", "Seeds": "0 of 3", "Mean ± sd": "—", "95 % interval": "—", "Δ to Plain_net": "—", "p": "—",
        "p (Holm)": "—", "Published": "—", "Ours − published": "—",
    }  # fmt: skip
    for text in (markdown(holey), _printed(holey), latex.latex(cells.document(holey))):
        assert "SE: no seed computed" in re.sub(r"\s+", " ", text)
    assert "nan" not in markdown(holey)
    assert "nan" not in latex.latex(cells.document(holey))


def test_terminal_shows_context_only_when_asked(result: TableResult) -> None:
    assert "Other net" not in _printed(result)
    assert "Other net" in _printed(result, full=True)
    assert "Plain_net + ACM" in _printed(result)


def test_latex_is_balanced_escaped_and_rectangular(result: TableResult) -> None:
    text = latex.latex(cells.document(result))
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 4
    assert r"Plain\_net + ACM" in text
    assert r"Intro\_with\_underscores \& 100 \%." in text
    assert not re.search(r"(?<!\\)_", re.sub(r"\\label\{.*?\}", "", text))
    assert text.isascii()
    for body in re.findall(r"\\begin\{tabular\}\{@\{\}(.*?)@\{\}\}\n(.*?)\\end\{tabular\}", text, flags=re.S):
        columns = len(re.findall(r"[lr]|p\{[^}]*\}", body[0]))
        lines = [line for line in body[1].splitlines() if line.endswith(r"\\") and not line.startswith(r"\multicolumn")]
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=40))
def test_no_ascii_text_escapes_latex(text: str) -> None:
    escaped = latex.escape(text)
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]|\$[<>]\$|\{[\[\]]\}", "", escaped)
    assert not set(plain) & set("\\&%$#_{}~^<>[]")


@given(st.floats(min_value=-1, max_value=1))
def test_signed_numbers_read_back(value: float) -> None:
    text = cells.signed(value)
    assert _number(text) == pytest.approx(100 * value, abs=0.00501)
    assert text[0] in "+−" or _number(text) == 0
    assert "-" not in text


def test_rounding_rules() -> None:
    assert cells.percent(0.85388) == "85.39"
    assert cells.signed(-0.00001) == "0.00"
    assert cells.signed(-0.0123) == "−1.23"
    assert cells.spread(0.5, float("nan")) == "50.00"
    assert cells.p_value(0.00099) == "<0.001"
    assert cells.p_value(0.0494) == "0.049"
    assert cells.p_value(float("nan")) == cells.percent(float("nan")) == "—"


def test_files_are_written_whole_and_replaced(result: TableResult, holey: TableResult, tmp_path: Path) -> None:
    folder = tmp_path / "tables" / "made_up"
    write_tables(holey, folder)
    paths = write_tables(result, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["main.md", "main.tex", "main.csv", "main.seeds.csv", "main.comparisons.csv", "main.delong.csv"]
    )
    assert paths["markdown"].read_text(encoding="utf-8") == markdown(result)
    assert len(pd.read_csv(paths["seeds"])) == len(result.seeds) == 27
    assert len(pd.read_csv(paths["comparisons"])) == 3
    before = {path: path.read_bytes() for path in folder.iterdir()}
    write_tables(result, folder)
    assert before == {path: path.read_bytes() for path in folder.iterdir()}

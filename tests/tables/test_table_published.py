"""Are published numbers shown only as what they are: their split, source and whether they were verified?"""

from pathlib import Path

import pytest

from cxrvl.errors import ConfigError
from cxrvl.tables.published import CONTEXT, load_published
from cxrvl.tables.spec import TableSpec

CHESTXRAY14 = Path(__file__).resolve().parents[2] / "experiments" / "acm_chestxray14"
HEADER = "row,group,metric,value,sd,unit,split,protocol,source,status,note"


def _load(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "published.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_units_become_fractions(tmp_path: Path) -> None:
    path = _load(
        tmp_path,
        "a,all,auroc,85.388,0.1,percent,s,,paper,verified,",
        "a,Mass,auroc,0.8628,,fraction,s,,paper,verified,",
    )
    published = load_published(path)
    mean, mass = published.get("a", "all", "auroc"), published.get("a", "Mass", "auroc")
    assert mean is not None
    assert mass is not None
    assert mean.value == pytest.approx(0.85388)
    assert mean.sd == pytest.approx(0.001)
    assert mass.value == pytest.approx(0.8628)
    assert mass.sd is None
    assert (mean.decimals, mass.decimals) == (3, 2)
    assert published.get("a", "Mass", "jafroc") is None


def test_no_file_means_nothing_was_published(tmp_path: Path) -> None:
    assert load_published(tmp_path / "published.csv").numbers == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a,all,auroc,85.4,,fraction,s,,paper,verified,", "outside 0 to 1; is the unit right"),
        ("a,all,auroc,-1,,percent,s,,paper,verified,", "outside 0 to 100"),
        ("a,all,auroc,nan,,percent,s,,paper,verified,", "outside 0 to 100"),
        ("a,all,auroc,high,,percent,s,,paper,verified,", "'high' is not a number"),
        ("a,all,auroc,85,,per cent,s,,paper,verified,", "unknown unit"),
        ("a,all,auroc,85,,percent,s,,paper,perhaps,", "unknown status 'perhaps'"),
        ("a,all,auroc,85,,percent,,,paper,verified,", "'split' is empty"),
        ("a,all,auroc,85,,percent,s,,,verified,", "'source' is empty"),
        ("a,all,auroc,85,,percent,s,,paper,verified", "expected 11 fields"),
        ("a,all,auroc,85,,percent,s,,paper,verified,x,y", "expected 11 fields"),
    ],
)
def test_names_file_and_line_of_a_mistake(tmp_path: Path, line: str, told: str) -> None:
    good = "b,all,auroc,80,,percent,s,,paper,verified,"
    with pytest.raises(ConfigError, match=told) as caught:
        load_published(_load(tmp_path, good, line))
    assert "published.csv, line 3" in str(caught.value)


def test_refuses_wrong_columns_and_repeats(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown column 'valeu'; did you mean 'value'\?"):
        load_published(_load(tmp_path, header=HEADER.replace("value", "valeu")))
    with pytest.raises(ConfigError, match="column 'note' is missing"):
        load_published(_load(tmp_path, header=HEADER.removesuffix(",note")))
    line = "a,all,auroc,85,,percent,s,,paper,verified,"
    with pytest.raises(ConfigError, match="a/all/auroc is given twice"):
        load_published(_load(tmp_path, line, line))


def test_a_number_without_a_row_is_refused(table_folder: Path) -> None:
    path = table_folder / "published.csv"
    path.write_text(path.read_text().replace("acm,all", "amc,all"))
    with pytest.raises(ConfigError, match=r"published row 'amc' is no row of any line; did you mean 'acm'\?"):
        TableSpec.load(table_folder)


def test_acm_numbers_verified_in_its_readme_agree_with_each_other() -> None:
    numbers = [number for number in load_published(CHESTXRAY14 / "published.csv").numbers if number.row == "acm"]
    mean = [number for number in numbers if number.group == "all"]
    labels = [number for number in numbers if number.group != "all"]
    assert len(mean) == 1
    assert len(labels) == 14
    assert mean[0].value == pytest.approx(0.85388)
    assert sum(number.value for number in labels) / 14 == pytest.approx(mean[0].value, abs=1e-4)
    assert {number.status for number in numbers} == {"verified"}


def test_recalled_numbers_are_marked_and_the_papers_split_is_the_random_one() -> None:
    spec = TableSpec.load(CHESTXRAY14)
    own = [number for number in spec.published.numbers if not number.row.startswith(CONTEXT)]
    assert {number.split for number in own} == {"chexnet_random"}
    assert {number.row for number in own if number.status == "verified"} == {"acm"}
    assert all(number.status == "unverified" for number in spec.published.numbers if "recalled" in number.note)
    assert all(number.status == "unverified" for number in spec.published.numbers if number.split == "unknown")
    for line in spec.lines.values():
        rows = {row.name for row in line.rows}
        shown = [number for number in own if number.row in rows and line.show_published]
        assert all(number.split == line.data_split for number in shown)
    assert not spec.line("subset").show_published

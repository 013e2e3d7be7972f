"""Does docs/evaluation.md state the corruptions and metrics there are?"""

from pathlib import Path

from cxrvl.data.transforms.corruptions import CORRUPTIONS
from cxrvl.evaluation.row_statistics import METRICS

TEXT = (Path(__file__).resolve().parents[1] / "docs/evaluation.md").read_text()


def test_the_severities_are_those_of_the_code():
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines() if line.startswith("| `")]
    stated = {line[0].strip("`"): tuple(float(cell) for cell in line[2:7]) for line in lines if len(line) == 8}
    assert stated == {name: tuple(map(float, kind.levels)) for name, kind in CORRUPTIONS.items()}


def test_every_metric_of_a_column_is_named():
    assert [name for name in METRICS if f"`{name}`" not in TEXT] == []

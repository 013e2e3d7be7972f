"""Does a run's page show what its files hold, escape what they hold, and do its charts tell the truth?"""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from cxrvl.files import write_json, write_yaml
from cxrvl.tracking.curves import HEIGHT, MOST_POINTS, WIDTH, chart, panels, series_of
from cxrvl.tracking.pages import refresh_page, write_page
from cxrvl.tracking.pictures import KINDS, Picture, keep

EVIL = '<script>alert("x")</script> & \'"'
VOID = {"meta", "img", "br", "link"}


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order; remembers which there are."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag not in VOID and tag not in ("line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def history(folder, rows):
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path):
    history(tmp_path, [{"step": s, "train/loss": 1 / (s + 1), "train/<b>": 1.0, "epoch": 0} for s in range(5)])
    write_yaml(tmp_path / "config.yaml", {"name": EVIL, "seed": 3})
    keep(tmp_path, [Picture(np.zeros((4, 4), np.uint8), kind, EVIL, f"{kind}{EVIL}", EVIL) for kind in KINDS], 4, 0)
    label = {"auroc": 0.75, "auroc_low": 0.5, "auroc_high": 1.0, "positives": 4}
    values = {"score_split": "test", "images": 9, "labels": {EVIL: label, "Mass": {}}, "mean": {"auroc": 0.75}}
    write_json(tmp_path / "metrics.json", {"findings-1": {"name": "findings", "values": values}})
    return tmp_path


def test_everything_on_the_page_is_escaped(run):
    page = write_page(run).read_text()
    seen = Balanced(page).seen
    assert "script" not in seen
    assert "b" not in seen
    assert "alert(&quot;x&quot;)" in page
    assert page.count("alert") == page.count("alert(&quot;x&quot;)")


def test_results_are_shown_with_their_intervals(run):
    page = write_page(run).read_text()
    assert "<td>0.750 <small>0.500&ndash;1.000</small></td><td>4</td>" in page
    assert "<td>Mass</td><td>&ndash;</td><td>&ndash;</td>" in page
    assert page.index(">mean<") < page.index(">Mass<")


def test_earlier_pictures_are_folded_away(run):
    keep(run, [Picture(np.zeros((4, 4), np.uint8), KINDS[0], "later", "k")], 9, 1)
    page = write_page(run).read_text()
    assert "pictures of epoch 2, step 10" in page
    assert page.index("later") < page.index("<summary>epoch 1, step 5</summary>")


def test_a_run_of_which_nothing_is_known_yet_has_a_page_too(tmp_path):
    Balanced(write_page(tmp_path).read_text())


def test_a_page_is_renewed_only_where_there_is_one(tmp_path):
    refresh_page(tmp_path)
    assert not (tmp_path / "pages").exists()
    write_page(tmp_path)
    history(tmp_path, [{"step": 0, "val/auroc": 0.5}, {"step": 1, "val/auroc": 0.7}])
    refresh_page(tmp_path)
    assert "val 0.7<" in (tmp_path / "pages/index.html").read_text()


def test_series_leave_out_what_is_undefined(tmp_path):
    history(tmp_path, [{"step": 1, "a": None, "b": 2, "epoch": 0}, {"step": None, "b": 3}, {"step": 2, "b": 4.5}])
    assert series_of(tmp_path) == {"b": [(1.0, 2.0), (2.0, 4.5)]}


def test_stages_share_a_chart_and_losses_come_first():
    names = ("val/auroc", "train/loss", "val/loss", "learning_rate/0", "learning_rate/1", "train/only")
    drawn = panels({name: [(0, 1)] for name in names})
    assert {title: sorted(lines) for title, lines in drawn.items()} == {
        "loss": ["train", "val"], "auroc": ["val"], "learning_rate": ["0", "1"], "only": ["train"]}  # fmt: skip
    assert next(iter(drawn)) == "loss"


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0.0)],
        [(0, 5.0), (1, 5.0)],
        [(0, 1e-9), (1, 3e-9)],
        [(0, -1e12), (7, 1e12)],
        [(s, s * s) for s in range(5000)],
    ],
)
def test_charts_stay_inside_their_frame_and_keep_the_order(points):
    drawn = chart("a <title>", {"train": points})
    root = ElementTree.fromstring(drawn)
    line = next(node for node in root if node.tag == "polyline")
    where = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert 1 <= len(where) <= MOST_POINTS
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in where)
    assert [x for x, _ in where] == sorted(x for x, _ in where)
    rising = [y for _, y in where]
    assert rising == sorted(rising, reverse=True)  # all series above rise, and y counts downwards


def test_ticks_are_where_their_numbers_say():
    root = ElementTree.fromstring(chart("t", {"val": [(0, 0.0), (100, 10.0)]}))
    ends = next(node for node in root if node.tag == "polyline").attrib["points"].split()
    (_, y_of_0), (_, y_of_10) = (tuple(map(float, pair.split(","))) for pair in ends)
    ticks = {
        float(node.text): float(node.attrib["y"]) - 3
        for node in root
        if node.tag == "text" and node.attrib.get("text-anchor") == "end" and node.text
    }
    assert len(ticks) >= 3
    for value, y in ticks.items():
        assert y == pytest.approx(y_of_0 + (y_of_10 - y_of_0) * value / 10, abs=0.2)


def test_a_chart_without_points_is_no_chart():
    assert chart("t", {}) == chart("t", {"train": []}) == ""
    assert re.search(r"\+2<", chart("t", {str(number): [(0, number)] for number in range(5)}))


def test_results_of_every_kind_of_evaluation_are_shown(run):
    mean = {"auroc": 0.61, "auroc_low": 0.5, "auroc_high": 0.7, "drop": 0.11, "drop_low": 0.05, "drop_high": 0.2}
    robustness = {
        "score_split": "test", "images": 12, "mean": mean, "clean": {"mean": {"auroc": 0.72}},
        "corruptions": {"blur": {"mean": {"auroc": 0.55, "drop": 0.17}}, "noise": {"mean": {"auroc": 0.67, "drop": 0.05}}},
    }  # fmt: skip
    looked = {"in_box": 0.3, "in_box_low": 0.2, "in_box_high": 0.4, "chance": 0.1}
    attention = {"score_split": "test", "images": 7, "mean": looked, "labels": {"Nodule": looked}}
    part = {"images": 5, "mean": {"auroc": 0.88}, "labels": {"Mass": {"auroc": 0.88}}}
    findings = {
        "score_split": "test",
        "images": 9,
        "mean": {"auroc": 0.75},
        "labels": {},
        "subsets": {"external": part},
    }
    kinds = {"robustness": robustness, "attention": attention, "findings": findings}
    write_json(run / "metrics.json", {f"{name}-1": {"name": name, "values": values} for name, values in kinds.items()})
    page = write_page(run).read_text()
    Balanced(page)
    for row in (
        "mean of all corruptions</td><td>0.610",
        "clean</td><td>0.720",
        "blur</td><td>0.550",
        "noise</td><td>0.670",
    ):
        assert row in page
    assert "<th>drop</th>" in page
    assert "Nodule</td><td>0.300 <small>0.200&ndash;0.400</small></td><td>0.100" in page
    assert "<h2>findings: test split, external, 5 images</h2>" in page
    assert "Mass</td><td>0.880" in page

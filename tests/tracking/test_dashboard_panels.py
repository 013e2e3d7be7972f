"""Does the dashboard draw what the project logs, and is it what W&B's own classes read?"""

import json
import re

import pytest

from cxrvl.tracking.dashboard import MEAN_AUROC, SECTIONS, uncovered
from cxrvl.tracking.dashboard_wandb import as_json, report, workspace
from cxrvl.tracking.pictures import KINDS
from cxrvl.tracking.wandb_run import summary_of

LINES = ("ACM and classification", "Self-training", "Text adaptation", "Dual tower")


def views(node):
    """Yield every panel of a workspace or report as W&B sees it."""
    if isinstance(node, dict):
        if "viewType" in node:
            yield node
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        yield from views(part)


def test_there_is_a_section_per_line_of_work_between_overview_and_machine():
    names = [section.name for section in SECTIONS]
    assert names == ["Sweep overview", *LINES, "Machine"]
    sections = as_json(workspace("p", "e"))["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == names
    assert all(section["panels"] for section in sections)
    blocks = json.dumps(as_json(report("p", "e")))
    assert all(name in blocks for name in names)


def test_everything_a_run_logs_is_drawn_somewhere(finished):
    folder = finished.only_run()
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    logged = {name for row in rows for name in row} - {"step"}
    assert {"train/loss", "val/auroc", "val/orthogonality"} <= logged
    assert list(uncovered(logged | set(KINDS))) == []
    assert list(uncovered({"val/nobody_logs_this"})) == ["val/nobody_logs_this"]


def test_bars_show_numbers_that_a_finished_run_has(finished):
    def flat(node, prefix=""):
        for key, value in node.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]

    summary = set(flat(summary_of(finished.only_run())))
    assert MEAN_AUROC in summary
    bars = [panel for section in SECTIONS for panel in section.panels if panel.kind == "bar"]
    assert all(summary & set(bar.names) for bar in bars)


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("val/teacher_auroc", "Self-training"),
        ("train/pseudo_label_auroc", "Self-training"),
        ("train/mntp", "Text adaptation"),
        ("val/contrastive_loss", "Text adaptation"),
        ("speed/tokens_per_second", "Text adaptation"),
        ("val/image_to_text/recall_at_5", "Dual tower"),
        ("val/t2i_recall@10", "Dual tower"),
        ("train/temperature", "Dual tower"),
        ("train/image_text_loss", "Dual tower"),
        ("val/auroc/Mass", "ACM and classification"),
        ("memory/gpu_peak_gib", "Machine"),
        ("learning_rate/0", "Machine"),
    ],
)
def test_names_of_lines_to_come_have_their_place(name, section):
    assert section in [s.name for s in SECTIONS if any(panel.shows(name) for panel in s.panels)]


def test_patterns_are_ones_that_the_server_reads():
    patterns = [panel.pattern for section in SECTIONS for panel in section.panels if panel.pattern]
    assert patterns
    for pattern in patterns:
        re.compile(pattern)
        assert "(?" not in pattern, "RE2 knows no lookaheads"
        assert pattern.startswith("^")


def test_a_panel_has_names_or_a_pattern_and_titles_are_unique_in_a_section():
    for section in SECTIONS:
        titles = [panel.title for panel in section.panels]
        assert len(set(titles)) == len(titles)
        assert all(bool(panel.names) != bool(panel.pattern) for panel in section.panels)


@pytest.mark.parametrize("build", [workspace, report])
def test_json_is_the_same_each_time_and_holds_every_panel(build):
    first = as_json(build("p", "e"))
    assert first == as_json(build("p", "e"))
    drawn = list(views(first))
    assert len(drawn) == sum(len(section.panels) for section in SECTIONS)
    assert len({panel["__id__"] for panel in drawn}) == len(drawn)
    media = [panel["config"]["mediaKeys"] for panel in drawn if panel["viewType"] == "Media Browser"]
    assert sorted(key for keys in media for key in keys) == sorted(KINDS)
    lines = [panel["config"] for panel in drawn if panel["viewType"] == "Run History Line Plot"]
    assert {line["xAxis"] for line in lines} == {"trainer/global_step"}
    assert all(line["metrics"] or line.get("useMetricRegex") for line in lines)


def test_wandbs_own_classes_read_the_json_back():
    from wandb_workspaces.reports.v2 import internal as report_internal
    from wandb_workspaces.workspaces import internal

    view = internal.View.model_validate(workspace("p", "e")._to_model().model_dump(by_alias=True))
    assert view.project == "p"
    read = report_internal.ReportViewspec.model_validate(report("p", "e")._to_model().model_dump(by_alias=True))
    grids = [block for block in read.spec.blocks if isinstance(block, report_internal.PanelGrid)]
    assert len(grids) == len(SECTIONS)
    groups = [runset.grouping for runset in grids[0].metadata.run_sets]
    assert len(groups) == 3, "the overview shows runs by state, by experiment and by seed"

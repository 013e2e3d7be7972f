"""How do the dashboard's panels become a W&B workspace and a W&B report?"""

import hashlib
from typing import Any

from cxrvl.tracking.dashboard import MEAN_AUROC, SECTIONS, Panel, Section
from cxrvl.tracking.wandb_run import STEP

COLUMNS = (
    "run:displayName", "run:state", "config:name.value", "config:seed.value", "run:group", "run:duration",
    f"summary:{MEAN_AUROC}",
)  # fmt: skip
"""Columns of the run table: which run, how it goes, what it got."""
NAME = "cxrvl"
TITLE = "cxrvl: runs by line of work"
PANEL_WIDTH, PANEL_HEIGHT, PANELS_A_LINE = 8, 6, 3


def workspace(project: str, entity: str) -> Any:
    """Build the workspace (`wandb_workspaces.workspaces.Workspace`): one section per line of work; nothing is sent."""
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(
            name=section.name,
            panels=[_panel(section, number) for number in range(len(section.panels))],
            is_open=section.open,
            layout_settings=ws.SectionLayoutSettings(columns=3, rows=-(-len(section.panels) // 3)),
        )
        for section in SECTIONS
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=30),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def report(project: str, entity: str) -> Any:
    """Build the report (`wandb_workspaces.reports.v2.Report`): a heading, a sentence and the panels of each line."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [
        wr.P("Written by `cxrvl dashboard`. Numbers that end in a table come from `cxrvl table`, not from here."),
        wr.TableOfContents(),
    ]
    for section in SECTIONS:
        panels = [_panel(section, number) for number in range(len(section.panels))]
        for number, panel in enumerate(panels):
            line, column = divmod(number, PANELS_A_LINE)
            panel.layout = wr.Layout(x=column * PANEL_WIDTH, y=line * PANEL_HEIGHT, w=PANEL_WIDTH, h=PANEL_HEIGHT)
        groups = ("State", "config.name", "config.seed") if section.open else ("Group",)
        runsets = [_runset(section, group) for group in groups]
        blocks += [wr.H1(section.name), wr.P(section.about), wr.PanelGrid(runsets=runsets, panels=panels)]
    return wr.Report(project=project, entity=entity, title=TITLE, width="fluid", blocks=blocks)


def as_json(built: Any) -> dict[str, Any]:
    """Return what W&B would be sent of a workspace or a report, as JSON values."""
    return built._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def _runset(section: Section, group: str) -> Any:
    """Return a run table of the report's own project; with a project of its own, W&B would be asked for it here."""
    import wandb_workspaces.reports.v2 as wr

    title = f"Runs by {group.removeprefix('config.').lower()}"
    runset = wr.Runset(name=title, groupby=[group], pinned_columns=list(COLUMNS))
    runset._id = _id(section.name, title)
    return runset


def _panel(section: Section, number: int) -> Any:
    panel = section.panels[number]
    built = _built(panel)
    built._id = _id(section.name, panel.title)
    return built


def _built(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if panel.kind == "media":
        return wr.MediaBrowser(title=panel.title, media_keys=list(panel.names), num_columns=4, gallery_axis="step")
    if panel.kind == "bar":
        if not panel.by:
            return wr.BarPlot(title=panel.title, metrics=list(panel.names))
        config = panel.by.startswith("config.")
        by = wr.Config(panel.by.removeprefix("config.")) if config else wr.Metric(panel.by)
        return wr.BarPlot(
            title=panel.title, metrics=list(panel.names), groupby=by, groupby_aggfunc="mean", groupby_rangefunc="stddev"
        )
    return wr.LinePlot(
        title=panel.title, x=STEP, y=list(panel.names), metric_regex=panel.pattern or None, log_y=panel.log or None,
        max_runs_to_show=30, ignore_outliers=False,
    )  # fmt: skip


def _id(*words: str) -> str:
    """Return a panel's id, the same at every call: W&B's own are random."""
    return hashlib.sha256("/".join(words).encode()).hexdigest()[:12]

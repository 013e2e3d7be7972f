"""Which data set does a command's `<data config>` name? `nih14`, `data=nih14` or any overrides that lead to one."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrvl.config.build import build
from cxrvl.config.check import check_part
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.sources.base import report_table
from cxrvl.data.studies import StudyTable


def data_config(words: Sequence[str], part: str = "data.source") -> dict[str, Any]:
    """Compose the config that the words lead to, and verify the part that is built; the model is nobody's business here.

    A word without an equals sign is an option of `data`, unless it deletes a key (`~data.labels`).
    """
    config = resolved(compose_config([w if "=" in w or w.startswith("~") else f"data={w}" for w in words]))
    check_part(config, part)
    return config


def reports_alone(data: Mapping[str, Any], source: Any) -> bool:
    """Whether a data config is one of reports: it has no image store, and the images need not be there."""
    return data.get("store") is None or not hasattr(source, "table")


def source_table(words: Sequence[str]) -> StudyTable | ReportTable:
    """Read the study table of a config's source, whole: all its labels, in its own split; its reports, if they are all."""
    data = data_config(words)["data"]
    source = build(data["source"])
    table: StudyTable | ReportTable = report_table(source) if reports_alone(data, source) else source.table()
    return table

"""Which data set does a command's `<data config>` name? `nih14`, `data=nih14` or any overrides that lead to one."""

from collections.abc import Sequence
from typing import Any

from cxrvl.config.build import build
from cxrvl.config.check import check_part
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.studies import StudyTable


def data_config(words: Sequence[str], part: str = "data.source") -> dict[str, Any]:
    """Compose the config that the words lead to, and verify the part that is built; the model is nobody's business here.

    A word without an equals sign is an option of `data`, unless it deletes a key (`~data.labels`).
    """
    config = resolved(compose_config([w if "=" in w or w.startswith("~") else f"data={w}" for w in words]))
    check_part(config, part)
    return config


def source_table(words: Sequence[str]) -> StudyTable:
    """Read the study table of a config's source, whole: all its labels, in its own split."""
    table: StudyTable = build(data_config(words)["data"]["source"]).table()
    return table

"""Which files of other code can a run start from, and what parts do they offer? What reads them is imported on use."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A kind of checkpoint that other code writes.

    Attributes:
        importer: module of cxrvl.interop; its `read_layout(path)` returns tensors by name, under the parts' prefixes.
        parts: part name -> prefix in what the importer returns; a file may lack some.
        whole: the parts that are the whole model.
        stem: how the key of the convolution over RGB ends, which is summed over its channels for a grey network.
    """

    importer: str
    parts: dict[str, str]
    whole: tuple[str, ...]
    stem: str


LAYOUTS = {
    "distl": Layout(
        "distl",
        {
            "student": "student.",
            "teacher": "teacher.",
            "encoder": "student.encoder.",
            "teacher_encoder": "teacher.encoder.",
            "backbone": "student.encoder.backbone.",
            "teacher_backbone": "teacher.encoder.backbone.",
            "class_head": "student.class_head.",
            "feature_head": "student.feature_head.",
            "centre": "centre.centre",
        },
        ("student", "teacher", "centre"),
        "patch_embed.proj.weight",
    ),
}
"""Name in `init_from.layout` -> what it is."""


def layout(name: str) -> Layout:
    """Return the record of a layout.

    Raises:
        ConfigError: no such name, with the nearest one.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"init_from.layout: there is no layout '{name}'{did_you_mean(name, LAYOUTS)}")
    return LAYOUTS[name]


def read_file(name: str, path: Path) -> "dict[str, Tensor]":
    """Return the tensors of a file in a named layout, under the parts' prefixes.

    Raises:
        ConfigError: no such layout.
        WeightsError: the file cannot be read safely, or has another layout.
    """
    module = importlib.import_module(f"cxrvl.interop.{layout(name).importer}")
    state: dict[str, Tensor] = module.read_layout(path)
    return state

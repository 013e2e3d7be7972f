"""What does a trained network with ACM, or a vision transformer, attend to in images whose findings have boxes?"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cxrvl.data.boxes import Corners, first_with_box, seen
from cxrvl.data.modules.loading import BatchRows
from cxrvl.models.attention import attend
from cxrvl.models.cls_attention import cls_attention, transformer_of
from cxrvl.runs.execute import use_weights
from cxrvl.runs.identity import study_table
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_images, build_task, quieten, set_up_process
from cxrvl.tasks.base import Task


@dataclass(frozen=True)
class Examples:
    """Attention of one module on some images.

    Attributes:
        images: (n, H, W) float32 in [0, 1], as the model saw them.
        boxes: per image, (x0, y0, x1, y1) in [0, 1] of that image.
        key_maps, query_maps: (n, G, h, w) softmax maps.
        titles: the finding the boxes belong to, per image.
        module: name of the module.
    """

    images: np.ndarray
    boxes: list[list[Corners]]
    key_maps: np.ndarray
    query_maps: np.ndarray
    titles: list[str]
    module: str


@dataclass(frozen=True)
class ClsExamples:
    """What the CLS token of a vision transformer attends to on some images; as `Examples`, maps (n, heads, h, w)."""

    images: np.ndarray
    boxes: list[list[Corners]]
    maps: np.ndarray
    titles: list[str]


class _Chosen(NamedTuple):
    """The trained task, the inputs (n, 1, H, W) it is shown, their boxes and the findings those belong to."""

    task: Task
    images: Tensor
    boxes: list[list[Corners]]
    titles: list[str]


def attended_examples(run: Run, config: dict[str, Any], count: int) -> Examples | None:
    """Run the trained model on the first test image with a box of each of `count` labels.

    The images are the first ones, not chosen by how well they look; the module is the deepest one whose maps
    are still fine enough to see anything.

    Returns:
        None when the test split has no box, or no module compares.
    """
    chosen = _chosen(run, config, count)
    found = None if chosen is None else attend(chosen.task.model, chosen.images)
    if chosen is None or found is None:
        return None
    return Examples(
        chosen.images[:, 0].numpy(), chosen.boxes, found.key.numpy(), found.query.numpy(), chosen.titles,
        found.module.removeprefix("backbone."),
    )  # fmt: skip


def cls_examples(run: Run, config: dict[str, Any], count: int) -> ClsExamples | None:
    """Run a trained vision transformer on the same images as `attended_examples`.

    Returns:
        None when the test split has no box, or the model is no vision transformer.
    """
    chosen = _chosen(run, config, count)
    encoder = None if chosen is None else transformer_of(chosen.task.model)
    if chosen is None or encoder is None:
        return None
    maps = cls_attention(encoder, chosen.images)
    return ClsExamples(chosen.images[:, 0].numpy(), chosen.boxes, maps.numpy(), chosen.titles)


def _chosen(run: Run, config: dict[str, Any], count: int) -> _Chosen | None:
    quieten()
    set_up_process(config)
    data, task = build_images(config), build_task(config, pretrained=False).eval()
    data.use_table(study_table(config))
    use_weights(run, config, task)
    chosen = first_with_box(data.table, data.table.split("test"), count)
    if not chosen:
        return None
    rows = [row for row, _ in chosen]
    loader = torch.utils.data.DataLoader(
        data.dataset(), batch_sampler=[BatchRows(rows)], collate_fn=lambda batch: batch
    )
    batch = data.transform(next(iter(loader)))
    boxes = [[seen(box[1:], fov) for box in data.table.frame["boxes"].iloc[row] if box[0] == label]
             for (row, label), fov in zip(chosen, batch["fov"].numpy(), strict=True)]  # fmt: skip
    return _Chosen(task, batch["image"], boxes, [label for _, label in chosen])

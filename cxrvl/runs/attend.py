"""What does a trained network with ACM, or a vision transformer, attend to in test images?"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cxrvl.data.attention_examples import first_examples
from cxrvl.data.boxes import Corners, seen
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
        boxes: per image, (x0, y0, x1, y1) in [0, 1] of that image; none where the data set has no boxes.
        key_maps, query_maps: (n, G, h, w) softmax maps.
        titles: the finding the boxes belong to, or the image is an example of, per image.
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


class _Shown(NamedTuple):
    """The trained task, the inputs (n, 1, H, W) it is shown, their boxes and their findings."""

    task: Task
    images: Tensor
    boxes: list[list[Corners]]
    titles: list[str]


def attended_examples(run: Run, config: dict[str, Any], count: int) -> Examples | None:
    """Run the trained model on up to `count` test images that `first_examples` chooses.

    The module is the deepest one whose maps are still fine enough to see anything.

    Returns:
        None when no label of the test split is known, or no module compares.
    """
    shown = _shown(run, config, count)
    found = None if shown is None else attend(shown.task.model, shown.images)
    if shown is None or found is None:
        return None
    return Examples(
        shown.images[:, 0].numpy(), shown.boxes, found.key.numpy(), found.query.numpy(), shown.titles,
        found.module.removeprefix("backbone."),
    )  # fmt: skip


def cls_examples(run: Run, config: dict[str, Any], count: int) -> ClsExamples | None:
    """Run a trained vision transformer on the same images as `attended_examples`.

    Returns:
        None when no label of the test split is known, or the model is no vision transformer.
    """
    shown = _shown(run, config, count)
    encoder = None if shown is None else transformer_of(shown.task.model)
    if shown is None or encoder is None:
        return None
    maps = cls_attention(encoder, shown.images)
    return ClsExamples(shown.images[:, 0].numpy(), shown.boxes, maps.numpy(), shown.titles)


def _shown(run: Run, config: dict[str, Any], count: int) -> _Shown | None:
    quieten()
    set_up_process(config)
    data, task = build_images(config), build_task(config, pretrained=False).eval()
    data.use_table(study_table(config))
    use_weights(run, config, task)
    chosen = first_examples(data.table, data.table.split("test"), count)
    if not chosen:
        return None
    loader = torch.utils.data.DataLoader(
        data.dataset(), batch_sampler=[BatchRows([one.row for one in chosen])], collate_fn=lambda batch: batch
    )
    batch = data.transform(next(iter(loader)))
    boxes = [[seen(box[1:], fov) for box in data.table.frame["boxes"].iloc[one.row] if box[0] == one.label]
             for one, fov in zip(chosen, batch["fov"].numpy(), strict=True)]  # fmt: skip
    return _Shown(task, batch["image"], boxes, [one.title for one in chosen])

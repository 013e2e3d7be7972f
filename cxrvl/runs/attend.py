"""What does a trained network with ACM attend to in images whose findings have boxes?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cxrvl.data.boxes import Corners, first_with_box, seen
from cxrvl.data.modules.loading import BatchRows
from cxrvl.models.attention import attend
from cxrvl.runs.execute import use_weights
from cxrvl.runs.identity import study_table
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_images, build_task, quieten, set_up_process


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


def attended_examples(run: Run, config: dict[str, Any], count: int) -> Examples | None:
    """Run the trained model on the first test image with a box of each of `count` labels.

    The images are the first ones, not chosen by how well they look; the module is the deepest one whose maps
    are still fine enough to see anything.

    Returns:
        None when the test split has no box, or no module compares.
    """
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
    found = attend(task.model, batch["image"])
    if found is None:
        return None
    boxes = [[seen(box[1:], fov) for box in data.table.frame["boxes"].iloc[row] if box[0] == label]
             for (row, label), fov in zip(chosen, batch["fov"].numpy(), strict=True)]  # fmt: skip
    return Examples(
        batch["image"][:, 0].numpy(), boxes, found.key.numpy(), found.query.numpy(),
        [label for _, label in chosen], found.module.removeprefix("backbone."),
    )  # fmt: skip

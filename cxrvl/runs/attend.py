"""What does a trained network with ACM attend to in images whose findings have boxes?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cxrvl.models.attention import capture_attention
from cxrvl.runs.execute import use_weights
from cxrvl.runs.identity import study_table
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_data, build_task, quieten, set_up_process

READABLE_WIDTH = 8
Box = tuple[float, float, float, float]


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
    boxes: list[list[Box]]
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
    data, task = build_data(config), build_task(config, pretrained=False).eval()
    data.use_table(study_table(config))
    use_weights(run, config, task)
    chosen = _first_with_box(data.table, count)
    if not chosen:
        return None
    rows = [row for row, _ in chosen]
    loader = torch.utils.data.DataLoader(data.dataset(), batch_sampler=[rows], collate_fn=lambda batch: batch)
    batch = data.transform(next(iter(loader)))
    with torch.inference_mode(), capture_attention(task.model) as maps:
        task.model(batch["image"])
    found = {n: (m.key, m.query) for n, m in maps.items() if m.key is not None and m.query is not None}
    if not found:
        return None
    name = _readable_module({n: key.shape[-1] for n, (key, _) in found.items()})
    key, query = found[name]
    boxes = [[_seen(box[1:], fov) for box in data.table.frame["boxes"].iloc[row] if box[0] == label]
             for (row, label), fov in zip(chosen, batch["fov"].numpy(), strict=True)]  # fmt: skip
    return Examples(
        batch["image"][:, 0].numpy(), boxes, key.numpy(), query.numpy(),
        [label for _, label in chosen], name.removeprefix("backbone."),
    )  # fmt: skip


def _readable_module(widths: dict[str, int]) -> str:
    """Return the last module whose maps are still at least 8 wide, or the last of the widest ones."""
    fine = [name for name, width in widths.items() if width >= READABLE_WIDTH]
    return fine[-1] if fine else [name for name, width in widths.items() if width == max(widths.values())][-1]


def _first_with_box(table: Any, count: int) -> list[tuple[int, str]]:
    """Return (row, label) of the first test image with a box of each label, for up to `count` labels."""
    found: dict[str, int] = {}
    for row in table.split("test"):
        for box in table.frame["boxes"].iloc[row]:
            if box[0] in table.labels:
                found.setdefault(box[0], int(row))
    return [(found[label], label) for label in table.labels if label in found][:count]


def _seen(box: tuple[float, ...], fov: np.ndarray) -> Box:
    """Move a box from native image coordinates to those of the model's input."""
    width, height = fov[2] - fov[0], fov[3] - fov[1]
    x0, x1 = (float(np.clip((v - fov[0]) / width, 0, 1)) for v in (box[0], box[2]))
    y0, y1 = (float(np.clip((v - fov[1]) / height, 0, 1)) for v in (box[1], box[3]))
    return x0, y0, x1, y1

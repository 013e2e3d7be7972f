"""Are the views of self-training and the attention of a transformer pictured, and is the training left as it was?"""

import numpy as np
import pytest
import torch
from picture_runs import trained
from PIL import Image, ImageColor

from cxrvl.config.compose import compose_config, hydra_session, resolved
from cxrvl.evaluation.attention import COLOURS
from cxrvl.tracking.compositions import SHOWN
from cxrvl.tracking.drawing import SIDE
from cxrvl.tracking.pictures import kept

OVERRIDES = (
    "data=phantom_self_training", "task=self_training", "model=distl_vit_micro", "evaluation=none",
    "data.source.images=120", "data.store.size=32", "data.batch_size=8", "data.labelled_batch_size=4",
    "data.label_fraction=0.3", "trainer.max_epochs=2", "trainer.accelerator=cpu", "tracking.pictures=3",
)  # fmt: skip


def made(folder, name, every):
    """Train in a folder, with pictures at every so many validations."""
    places = (f"paths.runs={folder}/runs", f"paths.stores={folder}/stores", f"paths.data={folder}")
    with hydra_session():
        config = resolved(compose_config([*OVERRIDES, *places, f"tracking.pictures_every={every}"]))
    return trained(config, folder / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same short self-training with pictures and without."""
    folder = tmp_path_factory.mktemp("runs")
    return folder / "with", made(folder, "with", 1), made(folder, "without", "null")


def test_a_run_with_pictures_of_views_is_bit_for_bit_the_run_without(runs):
    _, with_pictures, without = runs
    other = without.state_dict()
    for name, value in with_pictures.state_dict().items():
        assert torch.equal(value, other[name]), name


def test_views_are_those_that_were_trained_on(runs):
    folder, task, _ = runs
    lines = [line for line in kept(folder) if line.kind == "train/views"]
    assert len({line.step for line in lines}) == 2
    assert len(lines) == 6
    names = task.views.names
    assert all(f"{', '.join(names[:SHOWN])}" in line.caption for line in lines)
    pictures = [np.asarray(Image.open(folder / "pages" / line.file)) for line in lines]
    assert all(picture.shape == (SIDE, SHOWN * SIDE + (SHOWN - 1) * 4, 3) for picture in pictures)
    first, second = pictures[0][:, :SIDE].astype(int), pictures[0][:, SIDE + 4 : 2 * SIDE + 4].astype(int)
    assert np.abs(first - second).mean() > 1  # another view of the same image
    assert not [line for line in kept(folder) if line.kind == "train/inputs"]


def test_attention_of_every_head_is_pictured(runs):
    folder, task, _ = runs
    lines = [line for line in kept(folder) if line.kind == "val/cls_attention"]
    assert lines
    heads = task.model.encoder.backbone.network.blocks[-1].attn.num_heads
    assert all(f"mean of {heads} heads, then heads 0 to {heads - 1}" in line.caption for line in lines)
    picture = np.asarray(Image.open(folder / "pages" / lines[0].file)).astype(int)
    assert picture.shape == (SIDE, (2 + heads) * SIDE + (1 + heads) * 4, 3)
    tint = np.array(ImageColor.getrgb(COLOURS["CLS"]))
    pink = (picture - picture[..., 1:2] @ np.ones((1, 3), dtype=int))[..., 0] > 0.3 * (tint[0] - tint[1])
    assert not pink[:, :SIDE].any()  # the image itself
    for head in range(heads + 1):
        left = (head + 1) * (SIDE + 4)
        assert pink[:, left : left + SIDE].any()
    assert 'class="pictures wide"' in (folder / "pages/index.html").read_text()

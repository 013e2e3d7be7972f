"""Is the attention in boxes that of the transformer's last block, with chance and intervals beside it?"""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.cls_attention import AttentionEvaluator
from cxrvl.evaluation.predictions import read_predictions, write_predictions
from cxrvl.evaluation.probing import Network, Selective
from cxrvl.models.cls_attention import cls_attention, transformer_of
from cxrvl.models.image_encoder import ImageEncoder
from cxrvl.models.vit import Vit

HEADS = 2


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    vit = Vit(
        "vit_tiny_patch16_224", image_size=32, patch_size=8, in_channels=1, embed_dim=16, depth=3, num_heads=HEADS
    )
    return ImageEncoder(vit, in_channels=1).eval()


class Task(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.model = nn.ModuleDict({"encoder": encoder})
        self.other = nn.Linear(2, 2)


@pytest.fixture
def scored(make_table, encoder):
    rng = np.random.default_rng(0)
    drawn = {}
    for row in range(0, 200, 3):  # some images have boxes of Nodule, some of Effusion too, at any place
        x, y = rng.uniform(0, 0.6, 2)
        drawn[row] = [("Nodule", x, y, x + 0.3, y + 0.35)]
        if row % 2:
            drawn[row] += [("Effusion", 0.0, 0.5, 0.5, 1.0), ("Nodule", 0.6, 0.7, 0.9, 0.9)]
    table = make_table(patients=80, boxes=drawn)
    images = torch.rand(len(table), 1, 32, 32, generator=torch.Generator().manual_seed(1))

    def run(evaluator, task=None, batch_size=11):
        network = Network(lambda batch: None, task or Task(encoder), nullcontext)
        index, parts = np.concatenate([table.split(name) for name in evaluator.splits]), []
        for start in range(0, len(index), batch_size):
            rows = torch.from_numpy(index[start : start + batch_size])
            fov = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(rows), 4)
            parts.append(evaluator.probe({"image": images[rows], "index": rows, "fov": fov}, None, network, table))
        return table, images, parts

    return run


def test_maps_are_the_last_blocks_cls_row_over_the_patches(encoder):
    images = torch.rand(3, 1, 32, 32)
    maps = cls_attention(encoder, images)
    assert maps.shape == (3, HEADS, 4, 4)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(3, HEADS))
    # by hand: queries and keys of the last block, softmax over all tokens, CLS row, its own place left out
    block = encoder.backbone.network.blocks[-1]
    seen = []
    handle = block.attn.qkv.register_forward_hook(lambda _, __, out: seen.append(out))
    encoder(images)
    handle.remove()
    q, k, _ = seen[0].unflatten(-1, (3, HEADS, -1)).unbind(2)
    logits = torch.einsum("bhd,bnhd->bhn", q[:, 0], k) / q.shape[-1] ** 0.5
    row = logits.softmax(-1)[..., 1:]
    torch.testing.assert_close(maps.flatten(2), row / row.sum(-1, keepdim=True))
    assert transformer_of(nn.Sequential(nn.Conv2d(1, 1, 1), encoder)) is encoder
    assert transformer_of(nn.Conv2d(1, 1, 1)) is None


def test_rows_and_metrics_are_what_the_maps_put_into_the_boxes(scored, encoder, tmp_path):
    evaluator = AttentionEvaluator(bootstrap=100, groups={"nodules": ["Nodule"]})
    assert isinstance(evaluator, Selective)
    table, images, parts = scored(evaluator)
    predictions = evaluator.collect(parts, table)
    write_predictions(tmp_path / "a.parquet", predictions)
    rows = read_predictions(tmp_path / "a.parquet", "attention").frame
    boxed = [row for row in table.split("test") if table.frame["boxes"][row]]
    assert rows["image"].nunique() == len(boxed) == len(evaluator.scored(table))
    fine = torch.nn.functional.interpolate(cls_attention(encoder, images), scale_factor=32, mode="nearest") / 32**2
    for row in boxed[:6]:
        canvas = torch.zeros(128, 128)
        for label, x0, y0, x1, y1 in table.frame["boxes"][row]:
            if label == "Nodule":
                canvas[round(y0 * 128) : round(y1 * 128), round(x0 * 128) : round(x1 * 128)] = 1
        mine = rows[(rows["image"] == table.frame["image"][row]) & (rows["label"] == "Nodule")].sort_values("head")
        assert mine["in_box"].to_numpy() == pytest.approx((fine[row] * canvas).sum((1, 2)).numpy(), abs=0.02)
        assert mine["chance"].to_numpy() == pytest.approx(float(canvas.mean()), abs=0.02)
    metrics = evaluator.metrics(predictions)
    nodule = rows[rows["label"] == "Nodule"]
    entry = metrics["labels"]["Nodule"]
    assert entry["in_box"] == pytest.approx(nodule["in_box"].mean())
    assert entry["gain"] == pytest.approx((nodule["in_box"] - nodule["chance"]).mean())
    assert entry["heads"]["1"]["in_box"] == pytest.approx(nodule[nodule["head"] == 1]["in_box"].mean())
    assert entry["in_box_low"] < entry["in_box"] < entry["in_box_high"]
    assert metrics["groups"]["nodules"]["in_box"] == pytest.approx(entry["in_box"])
    both = [metrics["labels"][label]["in_box"] for label in ("Effusion", "Nodule")]
    assert metrics["mean"]["in_box"] == pytest.approx(np.mean(both))
    assert metrics["mean"]["without_boxes"] == ["Hernia"]
    json.dumps(metrics, allow_nan=False)


def test_even_attention_gains_nothing(scored):
    class Even(ImageEncoder):
        def attention(self, images):
            return torch.full((len(images), HEADS, 17, 17), 1 / 17)

    even = Even(Vit("vit_tiny_patch16_224", image_size=32, patch_size=8, in_channels=1, embed_dim=16, depth=1,
                    num_heads=HEADS), in_channels=1)  # fmt: skip
    evaluator = AttentionEvaluator(bootstrap=50)
    table, _, parts = scored(evaluator, Task(even))
    mean = evaluator.metrics(evaluator.collect(parts, table))["mean"]
    assert mean["gain"] == pytest.approx(0, abs=1e-6)
    assert mean["in_box"] == pytest.approx(mean["chance"])


def test_without_boxes_a_transformer_or_such_a_network_it_is_refused(scored, make_table, encoder):
    with pytest.raises(DataError, match="no image of split 'test' of 'made' has a box of Effusion, Nodule, Hernia"):
        AttentionEvaluator().scored(make_table())
    with pytest.raises(RunError, match="needs a vision transformer, and 'other' has none"):
        scored(AttentionEvaluator(network="other"))
    with pytest.raises(RunError, match="asks for the network 'teacher'"):
        scored(AttentionEvaluator(network="teacher"))
    with pytest.raises(ConfigError, match="score_split"):
        AttentionEvaluator(splits=["val"])

"""Are the worst errors the worst, are pictures kept and cut with their run, and do drawings show what they say?"""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from cxrvl.evaluation.attention import BOX_COLOUR, COLOURS
from cxrvl.tracking.cases import label_losses, worst
from cxrvl.tracking.drawing import SIDE, beside, grey, with_attention, with_boxes
from cxrvl.tracking.pictures import KINDS, Picture, keep, kept, show


def batch_of(rows):
    rows = torch.as_tensor(rows)
    image = rows[:, None, None, None].float().expand(-1, 1, 4, 4) / 100
    return {"index": rows, "image": image, "fov": torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(rows), 4)}


def test_label_losses_are_cross_entropies_of_the_known_labels():
    logits = torch.tensor([[2.0, -1.0, 0.5, 3.0]])
    losses = label_losses(logits, torch.tensor([[1.0, 0.0, -1.0, math.nan]]))
    assert losses[0, 0] == pytest.approx(math.log(1 + math.exp(-2)))
    assert losses[0, 1] == pytest.approx(math.log(1 + math.exp(-1)))
    assert losses[0, 2:].tolist() == [-math.inf, -math.inf]


def test_the_worst_of_all_batches_are_kept():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 3, generator=generator) * 3
    targets = torch.randint(-1, 3, (50, 3), generator=generator).float()
    targets[targets == 2] = math.nan
    found = []
    for start in range(0, 50, 7):
        rows = range(start, min(start + 7, 50))
        found = worst(found, batch_of(list(rows)), logits[list(rows)], targets[list(rows)], 5)
    losses = label_losses(logits, targets).max(dim=1)
    expected = losses.values.argsort(descending=True)[:5]
    assert [case.row for case in found] == expected.tolist()
    first = found[0]
    assert first.loss == pytest.approx(float(losses.values.max()))
    assert first.label == int(losses.indices[expected[0]])
    assert first.target == float(targets[first.row, first.label])
    assert first.probability == pytest.approx(float(logits[first.row, first.label].sigmoid()))
    assert first.image[0, 0, 0] == pytest.approx(first.row / 100)


def test_an_image_without_a_known_label_is_no_error():
    assert worst([], batch_of([3]), torch.zeros(1, 2), torch.tensor([[-1.0, math.nan]]), 4) == []


def test_grey_pictures_hold_the_image():
    image = np.linspace(-0.5, 1.5, 64, dtype=np.float32).reshape(1, 8, 8)
    assert grey(image).tolist() == np.round(255 * image[0].clip(0, 1)).astype(int).tolist()
    assert grey(np.zeros((3, 600, 300), dtype=np.float32)).shape == (SIDE, SIDE // 2, 3)
    assert grey(np.full((1, 4, 4), np.nan, dtype=np.float32)).max() == 0


def test_boxes_are_drawn_where_they_are():
    drawn = with_boxes(np.zeros((32, 64), dtype=np.uint8), [(0.5, 0.25, 0.75, 0.5)])
    assert drawn.shape == (SIDE // 2, SIDE, 3)
    rows, columns = np.nonzero((drawn == ImageColor.getrgb(BOX_COLOUR)).all(axis=2))
    assert (columns.min() / SIDE, columns.max() / SIDE) == pytest.approx((0.5, 0.75), abs=0.02)
    assert (rows.min() / (SIDE / 2), rows.max() / (SIDE / 2)) == pytest.approx((0.25, 0.5), abs=0.02)


@pytest.mark.parametrize("side", ["K", "Q"])
def test_attention_colours_where_it_is_above_uniform(side):
    attention = np.full((4, 4), 0.1 / 15)
    attention[0, 3] = 0.9  # top right
    drawn = with_attention(np.full((16, 16), 128, dtype=np.uint8), attention, side).astype(int)
    tint = np.array(ImageColor.getrgb(COLOURS[side]))
    assert np.abs(drawn[10, -10] - (0.2 * 128 + 0.8 * tint)).max() <= 2
    assert (drawn[-10, 10] == 128).all()
    flat = with_attention(np.full((16, 16), 128, dtype=np.uint8), np.full((4, 4), 1 / 16), side)
    assert (flat == 128).all()


def test_pictures_beside_each_other():
    part = np.zeros((5, 7, 3), dtype=np.uint8)
    assert beside([part, part, part], gap=2).shape == (5, 25, 3)


def picture(kind=KINDS[0], value=7):
    return Picture(np.full((4, 4), value, dtype=np.uint8), kind, "a caption", "a/key.png", "a report")


def test_pictures_are_kept_and_cut_where_a_run_goes_on(tmp_path):
    keep(tmp_path, [picture(value=1)], step=9, epoch=0)
    keep(tmp_path, [picture(value=2), picture(KINDS[2], 3)], step=19, epoch=1)
    assert [(line.step, line.epoch, line.kind) for line in kept(tmp_path)] == [
        (9, 0, KINDS[0]), (19, 1, KINDS[0]), (19, 1, KINDS[2])]  # fmt: skip
    keep(tmp_path, [picture(value=4)], step=15, epoch=1)  # as a run does that goes on from step 12
    lines = kept(tmp_path)
    assert [line.step for line in lines] == [9, 15]
    values = [np.asarray(Image.open(tmp_path / "pages" / line.file)).max() for line in lines]
    assert values == [1, 4]
    assert len(list((tmp_path / "pages").glob("*.png"))) == 2


@pytest.mark.parametrize("content", ["{", "[1]", '[{"file": "x"}]', json.dumps({"a": 1})])
def test_a_damaged_list_is_said_and_begun_anew(tmp_path, caplog, content):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/pictures.json").write_text(content)
    assert kept(tmp_path) == []
    assert "damaged" in caplog.text
    keep(tmp_path, [picture()], step=1, epoch=0)
    assert len(kept(tmp_path)) == 1


def test_loggers_are_shown_one_list_per_kind():
    class Seen:
        share_data = True
        calls: list = []  # noqa: RUF012

        def log_pictures(self, key, pictures, captions, step):
            self.calls.append((key, len(pictures), captions, step))

    show([Seen()], [picture(), picture(KINDS[2]), picture()], 5)
    text = "a/key.png: a caption"
    assert Seen.calls == [(KINDS[0], 2, [text, text], 5), (KINDS[2], 1, [text], 5)]

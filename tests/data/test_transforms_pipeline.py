"""Is a pipeline's result for an image independent of its batch, and does it know the field of view it leaves?"""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.transforms import (
    CenterCrop,
    ColorJitter,
    Draw,
    Pipeline,
    RandomAffine,
    RandomGamma,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    to_float,
)
from cxrvl.errors import ConfigError

PAPER = Pipeline([RandomHorizontalFlip(), RandomResizedCrop(32, scale=(0.8, 1.0)), ColorJitter(0.2, 0.2, 0.2)])
SAFE = Pipeline([RandomAffine(10, (0.05, 0.05), (0.9, 1.1)), RandomResizedCrop(32, scale=(0.6, 1.0)), RandomGamma()])
IMAGES = torch.randint(0, 256, (40, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def draw(keys, epoch=0):
    return Draw(0, epoch, torch.as_tensor(keys))


@pytest.mark.parametrize("pipeline", [PAPER, SAFE])
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=20, unique=True))
def test_independent_of_batch_and_order(pipeline, rows):
    whole = pipeline(IMAGES, draw(range(40)))
    part = pipeline(IMAGES[rows], draw(rows))
    torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-6)


def test_epochs_and_keys_differ():
    first = PAPER(IMAGES, draw(range(40)))
    assert torch.equal(first, PAPER(IMAGES, draw(range(40))))
    assert not torch.equal(first, PAPER(IMAGES, draw(range(40), epoch=1)))
    same = IMAGES[:1].expand(2, -1, -1, -1)
    a, b = PAPER(same, draw([0, 1]))
    assert not torch.equal(a, b)


def test_two_steps_of_one_kind_draw_their_own():
    images = torch.rand(200, 1, 8, 8)
    twice = Pipeline([RandomHorizontalFlip(), RandomHorizontalFlip()])(images, draw(range(200)))
    mirrored = (twice != images).flatten(1).any(dim=1).float().mean()
    # Equal draws would cancel in every image.
    assert 0.35 < mirrored < 0.65


def test_stored_pixels_and_floats_give_the_same():
    assert torch.equal(PAPER(IMAGES, draw(range(40))), PAPER(to_float(IMAGES), draw(range(40))))
    assert PAPER(IMAGES, draw(range(40))).shape == (40, 1, 32, 32)


def test_to_float():
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert to_float(torch.tensor([0, 13107, 65535], dtype=torch.uint16)).tolist() == pytest.approx([0, 0.2, 1])
    with pytest.raises(ConfigError, match=r"torch.int64"):
        to_float(torch.tensor([1]))


def test_field_of_view_of_resize_and_crop():
    fov = torch.tensor([[0.0, 0.0, 1.0, 1.0], [-0.5, 0.0, 1.5, 1.0]])
    got = Pipeline([Resize(470), CenterCrop(448)]).fov(fov)
    a, b = 11 / 470, 459 / 470
    torch.testing.assert_close(got, torch.tensor([[a, a, b, b], [-0.5 + 2 * a, a, -0.5 + 2 * b, b]]))
    assert torch.equal(Pipeline([Resize(448)]).fov(fov), fov)


def test_field_of_view_points_at_the_right_pixels():
    # A ramp shows where each output pixel comes from.
    ramp = ((torch.arange(512) + 0.5) / 512).expand(1, 1, 512, 512).contiguous()
    pipeline = Pipeline([Resize(300), CenterCrop([200, 150])])
    out = pipeline(ramp)[0, 0, 100]
    x0, _, x1, _ = pipeline.fov(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), (512, 512))[0].tolist()
    step = (x1 - x0) / 150
    assert out[0].item() == pytest.approx(x0 + step / 2, abs=1e-3)
    assert out[-1].item() == pytest.approx(x1 - step / 2, abs=1e-3)


def test_field_of_view_refuses_what_it_cannot_know():
    fov = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ConfigError, match="put a Resize before"):
        Pipeline([CenterCrop(448)]).fov(fov)
    with pytest.raises(ConfigError, match="no place in evaluation"):
        SAFE.fov(fov)


def test_chance_is_refused_without_a_draw():
    with pytest.raises(ConfigError, match="RandomHorizontalFlip is random"):
        PAPER(IMAGES)


@pytest.mark.parametrize(
    ("images", "keys", "words"),
    [(IMAGES[0], [0], r"\(B, 1, H, W\)"), (IMAGES[:2], [0], "draw for 1 samples was given with 2"),
     (IMAGES[:0], [], r"\(0, 1, 48, 48\)"), (IMAGES[:1].to(torch.float64), [0], "float64")],
)  # fmt: skip
def test_bad_input(images, keys, words):
    with pytest.raises(ConfigError, match=words):
        PAPER(images, draw(keys))


def test_pipelines_travel_to_workers():
    again = pickle.loads(pickle.dumps(PAPER))
    assert torch.equal(again(IMAGES, draw(range(40))), PAPER(IMAGES, draw(range(40))))


def test_steps_after_evaluation_resize_are_optional_in_training():
    out = Pipeline([Resize(40), ColorJitter(0.1)])(IMAGES, draw(range(40)))
    assert out.shape == (40, 1, 40, 40)

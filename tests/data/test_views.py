"""Are the views of an image its own, whatever batch it comes in, of the sizes and with the chances that were asked for?"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.transforms import (
    Draw,
    GaussianNoise,
    PilViewSet,
    Pipeline,
    RandomAffine,
    RandomAutocontrast,
    RandomEqualize,
    RandomGaussianBlur,
    RandomHorizontalFlip,
    RandomRotation,
    Resize,
    View,
    ViewSet,
    crop_view,
    to_float,
)
from cxrvl.errors import ConfigError

IMAGES = torch.randint(0, 256, (24, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def released(size=32, local=20, count=3, kind=ViewSet):
    """The paper's chain at sizes of a test."""

    def chain(p):
        return [
            RandomHorizontalFlip(),
            RandomRotation(15, "nearest"),
            RandomAutocontrast(p),
            RandomEqualize(p),
            RandomGaussianBlur((0.1, 1.5), p),
        ]

    return kind(
        {
            "original": View(Pipeline([Resize(size)])),
            "global": crop_view(size, (0.75, 1.0), chain(0.3), interpolation="bicubic"),
            "local": crop_view(local, (0.2, 0.6), chain(0.5), count=count, interpolation="bicubic"),
        }
    )


def safe(count=3):
    steps = [RandomRotation(7), RandomAffine(3, (0.05, 0.05)), GaussianNoise((0.0, 0.02), 0.5)]
    return ViewSet({"whole": crop_view(32, (0.75, 1.0), steps), "local": crop_view(20, (0.2, 0.6), steps, count)})


def draw(keys, epoch=0, seed=0):
    return Draw(seed, epoch, torch.as_tensor(list(keys)))


@pytest.mark.parametrize("views", [released(), safe()], ids=["released", "safe"])
def test_names_sizes_and_range(views):
    assert len(views.names) == len(set(views.names)) == len(views.sizes(48, 48))
    drawn = views(IMAGES, draw(range(24)))
    for name, size, view in zip(views.names, views.sizes(48, 48), drawn, strict=True):
        assert view.shape == (24, 1, *size), name
        assert view.dtype == torch.float32
        assert view.min() >= 0
        assert view.max() <= 1
    assert views.names[-3:] == ["local.0", "local.1", "local.2"]


@pytest.mark.parametrize("views", [released(), safe()], ids=["released", "safe"])
@settings(max_examples=8, deadline=None)
@given(rows=st.lists(st.integers(0, 23), min_size=1, max_size=24, unique=True))
def test_independent_of_batch_and_order(views, rows):
    whole = views(IMAGES, draw(range(24)))
    part = views(IMAGES[rows], draw(rows))
    for a, b in zip(part, whole, strict=True):
        torch.testing.assert_close(a, b[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("views", [released(), safe()], ids=["released", "safe"])
def test_slices_of_the_cpu_change_nothing(views, monkeypatch):
    whole = views(IMAGES, draw(range(24)))
    monkeypatch.setattr("cxrvl.data.transforms.pipeline.CPU_SLICE", 5)
    monkeypatch.setattr("cxrvl.data.transforms.pipeline.CPU_PIXELS", 1)
    monkeypatch.setattr("cxrvl.data.transforms.pil_nearest.CACHED", 3 * 32 * 32)
    for a, b in zip(views(IMAGES, draw(range(24))), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_views_epochs_seeds_and_keys_differ():
    views = released()
    same = IMAGES[:1].expand(2, -1, -1, -1)
    first = views(same, draw([4, 5]))
    others = [views(same, draw([4, 5], epoch=1)), views(same, draw([4, 5], seed=1)), views(same, draw([6, 7]))]
    for name, view, *more in zip(views.names, first, *others, strict=True):
        if name != "original":
            assert not torch.equal(view[0], view[1]), name
            assert not any(torch.equal(view, other) for other in more), name
    local = first[2:]
    assert not any(torch.equal(local[i], local[j]) for i in range(3) for j in range(i))
    assert all(torch.equal(a, b) for a, b in zip(first, views(same, draw([4, 5])), strict=True))


def test_counts_and_other_groups_change_no_view():
    few, many = released(count=2), released(count=4)
    fewer = ViewSet({"local": few.groups["local"]})
    d = draw(range(24))
    for other in (many(IMAGES, d)[2:4], fewer(IMAGES, d)):
        for a, b in zip(few(IMAGES, d)[2:], other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_a_count_of_none_leaves_the_kind_out():
    views = released(count=0)
    assert views.names == ["original", "global"]
    assert len(views(IMAGES, draw(range(24)))) == len(views.sizes(48, 48)) == 2


@pytest.mark.parametrize("views", [released(), safe()], ids=["released", "safe"])
def test_inputs_are_left_as_they_are(views):
    for images in (IMAGES, to_float(IMAGES)):
        before = images.clone()
        views(images, draw(range(24)))
        assert torch.equal(images, before)


def test_sixteen_bits_are_not_thrown_away():
    wide = (IMAGES.to(torch.int32) * 257).to(torch.uint16)
    views = ViewSet({"crop": crop_view(32, (0.5, 1.0), [RandomRotation(15, "nearest")], interpolation="bicubic")})
    (fine,), (coarse,) = views(wide, draw(range(24))), views(IMAGES, draw(range(24)))
    # The same places; bytes are rounded after each axis, finer pixels never.
    assert ((fine * 255) % 1).abs().max() > 0.1
    assert (fine - coarse).abs().mean() < 1 / 255
    (float_,) = views(to_float(wide), draw(range(24)))
    torch.testing.assert_close(fine, float_, rtol=0, atol=1e-6)


def test_the_original_is_untouched():
    (original, *_) = released(size=48)(IMAGES, draw(range(24)))
    assert torch.equal(original, to_float(IMAGES))


@pytest.mark.parametrize("sampling", ["nearest", "bilinear"])
def test_turned_corners_are_black(sampling):
    white = torch.full((8, 1, 32, 32), 255, dtype=torch.uint8)
    views = ViewSet({"turned": View(Pipeline([RandomRotation((10, 15), sampling)]))})
    (turned,) = views(white, draw(range(8)))
    assert (turned[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert (turned[:, :, 8:-8, 8:-8] > 0.999).all()


@pytest.mark.parametrize(
    ("images", "keys", "words"),
    [
        (IMAGES[:, 0], range(24), r"\(B, 1, H, W\)"),
        (IMAGES.expand(-1, 3, -1, -1), range(24), "grey"),
        (IMAGES, range(23), "23 samples"),
        (IMAGES[:0], [], "grey"),
    ],
)
@pytest.mark.parametrize("kind", [ViewSet, PilViewSet])
def test_bad_batches(images, keys, words, kind):
    with pytest.raises(ConfigError, match=words):
        released(kind=kind)(images, draw(keys))


def test_bad_sets():
    whole = View(Pipeline([]))
    with pytest.raises(ConfigError, match="at least one"):
        ViewSet({})
    with pytest.raises(ConfigError, match="at least one"):
        ViewSet({"whole": View(Pipeline([]), 0)})
    with pytest.raises(ConfigError, match="count -1"):
        ViewSet({"whole": View(Pipeline([]), -1)})
    with pytest.raises(ConfigError, match="own name"):
        ViewSet({"a.0": whole, "a": View(Pipeline([]), 2)})

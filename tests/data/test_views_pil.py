"""Do the batched steps give what PIL gives, pixel by pixel, for the same draws?"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from scipy import stats
from torchvision import transforms as tv

from cxrvl.data.transforms import (
    ColorJitter,
    Draw,
    PilViewSet,
    Pipeline,
    RandomAutocontrast,
    RandomEqualize,
    RandomGaussianBlur,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    View,
    ViewSet,
    crop_view,
    to_float,
)
from cxrvl.data.transforms.bands import Blurs
from cxrvl.data.transforms.pil_bicubic import _products, bicubic_crops
from cxrvl.data.transforms.pil_nearest import _clipped, _fixed, nearest
from cxrvl.errors import ConfigError

N = 24
LEVEL = 1 / 255 + 1e-6


def draw(n=N, seed=0):
    return Draw(seed, 0, torch.arange(n))


def radiographs(shared, size=96):
    """Real 8-bit images: their histograms have gaps and peaks that random numbers have not."""
    files = sorted((shared / "data" / "nih14_1024").glob("*.png"))
    pictures = [np.asarray(Image.open(file).convert("L").resize((size, size), 2)) for file in files]
    return torch.from_numpy(np.stack([pictures[i % len(pictures)] for i in range(N)]))[:, None]


def noise(height=40, width=40, n=N):
    return torch.randint(0, 256, (n, 1, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def by_pil(images, change):
    changed = [np.asarray(change(i, Image.fromarray(image))) for i, image in enumerate(images[:, 0].numpy())]
    return to_float(torch.from_numpy(np.stack(changed)))[:, None]


@pytest.mark.parametrize(("size", "scale"), [((32, 32), (0.2, 0.6)), ((40, 64), (0.75, 1.0)), ((30, 21), (0.05, 0.4))])
@pytest.mark.parametrize("shape", [(40, 40), (38, 61)])
def test_bicubic_crops(size, scale, shape):
    # Nothing is clipped: Pillow's releases differ in which axis they resize, and so clip, first.
    images, d = noise(*shape) // 2 + 60, draw()
    step = RandomResizedCrop(size, scale, interpolation="bicubic")
    got = step(images, d)
    boxes = step.boxes(*shape, d).tolist()
    want = by_pil(
        images,
        lambda i, p: p.crop((boxes[i][0], boxes[i][1], boxes[i][0] + boxes[i][2], boxes[i][1] + boxes[i][3])).resize(
            size[::-1], Image.Resampling.BICUBIC
        ),
    )
    assert got.dtype == torch.uint8
    assert (to_float(got) - want).abs().max() <= LEVEL
    assert (to_float(got) != want).float().mean() < 0.05


def test_bicubic_by_products_is_the_same():
    # What a GPU does, here on the CPU: mirrored and plain crops, bytes and floats.
    d = draw()
    crop, flip = RandomResizedCrop((24, 32), (0.1, 1.0), interpolation="bicubic"), RandomHorizontalFlip()
    images = noise(40, 36)
    matrix = flip.matrix(N, 40, 36, d) @ crop.matrix(N, 40, 36, d)
    spans = [matrix[:, k, [2, k]] * torch.tensor([36, 40][k]) for k in (0, 1)]
    across, down = (tuple(span.round().unbind(1)) for span in spans)
    for pixels, tolerance in ((images, 1.0), (to_float(images), 1e-5)):
        a, b = _products(pixels, across, down, (24, 32)), bicubic_crops(pixels, matrix, (24, 32))
        assert (a.float() - b.float()).abs().max() <= tolerance
    assert (a != images[:, :, :24, :32]).any()


@pytest.mark.parametrize("shape", [(40, 40), (38, 61)])
def test_nearest_turns_take_the_same_pixels(shape):
    images, d = noise(*shape), draw()
    step = RandomRotation(15, "nearest")
    angles = step.angles(d).tolist()
    assert max(angles) > 10
    assert min(angles) < -10
    want = by_pil(images, lambda i, p: p.rotate(angles[i], Image.Resampling.NEAREST, fillcolor=0))
    assert torch.equal(to_float(step(images, d)), want)
    assert torch.equal(step(to_float(images), d), want)


@pytest.mark.parametrize("degrees", [15, 180])
@pytest.mark.parametrize("shape", [(40, 40), (30, 80)])
def test_turns_of_all_images_at_once_are_the_same(shape, degrees):
    # What a GPU does, here on the CPU, where corners of a wide image reach far over a turned one.
    images = noise(*shape)
    matrix = RandomRotation(degrees, "nearest").matrix(N, *shape, draw())
    want = nearest(images, matrix, shape)
    assert torch.equal(_clipped(images, _fixed(matrix, images.shape, shape), shape), want)
    assert (want == 0).float().mean() > 0.01


def test_turns_go_counterclockwise_like_torchvisions():
    image = torch.zeros(1, 1, 33, 33)
    image[0, 0, 16, 30] = 1
    for sampling in ("nearest", "bilinear"):
        turned = RandomRotation((90, 90), sampling)(image, draw(1))
        assert turned[0, 0, 2, 16] > 0.99


def test_bilinear_turns_follow_pil(shared):
    images, d = radiographs(shared), draw()
    step = RandomRotation(15)
    angles = step.angles(d).tolist()
    want = by_pil(images, lambda i, p: p.rotate(angles[i], Image.Resampling.BILINEAR, fillcolor=0))
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    assert (step(to_float(images), d) - want)[inner].abs().max() < 1.6 / 255


@pytest.mark.parametrize(
    ("step", "change"), [(RandomAutocontrast(), ImageOps.autocontrast), (RandomEqualize(), ImageOps.equalize)]
)
def test_tone_curves_are_pils(step, change, shared):
    flat, two = torch.full((1, 1, 96, 96), 77, dtype=torch.uint8), torch.zeros(1, 1, 96, 96, dtype=torch.uint8)
    two[..., 0] = 3
    narrow = (noise(96, 96, 6) // 9 + 40).to(torch.uint8)
    images = torch.cat([radiographs(shared), flat, two, narrow, noise(96, 96, 4)])
    want = by_pil(images, lambda _, p: change(p))
    assert torch.equal(step(images, draw(len(images))), want)
    assert torch.equal(step(to_float(images), draw(len(images))), want)
    # Too few pixels for one step of 1/255 each: PIL leaves such an image as it is.
    tiny = noise(8, 8)
    assert torch.equal(step(tiny, draw()), by_pil(tiny, lambda _, p: change(p)))


def test_two_curves_in_a_pipeline_are_one_after_the_other(shared):
    images = radiographs(shared)
    steps = [RandomAutocontrast(0.6), RandomEqualize(0.6), RandomAutocontrast(0.6)]
    d = draw()
    chosen = [step.chosen(d.scope(name)).tolist() for name, step in Pipeline(steps).named]

    def change(i, picture):
        for kind, which in zip((ImageOps.autocontrast, ImageOps.equalize, ImageOps.autocontrast), chosen, strict=True):
            picture = kind(picture) if which[i] else picture
        return picture

    assert torch.equal(Pipeline(steps)(images, d), by_pil(images, change))


@pytest.mark.parametrize(("low", "high"), [(0.1, 2.0), (0.1, 0.4), (2.0, 6.0)])
@pytest.mark.parametrize("size", [(96, 96), (40, 77)])
def test_blur_is_pils_up_to_its_rounding(low, high, size, shared):
    images, d = radiographs(shared)[..., : size[0], : size[1]], draw()
    step = RandomGaussianBlur((low, high), 1.0)
    _, radius = step.chosen(d)
    got = step(to_float(images), d)
    want = by_pil(images, lambda i, p: p.filter(ImageFilter.GaussianBlur(float(radius[i]))))
    error = (got - want).abs() * 255
    # PIL rounds after each of six passes; borders, which it extends before each, must not stand out.
    # A kernel of nearly one pixel passes their errors on, a wider one averages them.
    assert error.mean() < 0.6
    assert error.max() < 3
    assert (error > 1.01).float().mean() < (0.01 if low >= 1 else 0.15)
    edge = torch.cat([error[:, :, :3].flatten(), error[:, :, -3:].flatten(), error[..., :3].flatten()])
    assert edge.mean() < 0.5


@pytest.mark.parametrize("size", [(32, 32), (40, 77), (13, 50)])
def test_blurs_of_all_images_at_once_are_the_same(size):
    # What a GPU does, here on the CPU: images lie one after the other, and none may leak into the next.
    images, step = to_float(noise(*size)), RandomGaussianBlur((0.1, 2.0), 0.6)
    chosen, radius = step.chosen(draw())
    rows = torch.nonzero(chosen)[:, 0]
    one, all_ = (
        Blurs(rows, step.weights(radius[rows]), size, "blur", together=together).blur_(images.clone())
        for together in (False, True)
    )
    torch.testing.assert_close(all_, one, rtol=0, atol=1e-6)
    assert torch.equal(one, step(images, draw()))
    assert torch.equal(one[~chosen], images[~chosen])
    assert (one != images).flatten(1).any(dim=1).equal(chosen)


def test_blur_wider_than_the_image():
    with pytest.raises(ConfigError, match="too wide"):
        RandomGaussianBlur((2.0, 2.0), 1.0)(torch.rand(1, 1, 12, 30), draw(1))
    assert RandomGaussianBlur((2.0, 2.0), 1.0)(torch.rand(1, 1, 13, 13), draw(1)).shape == (1, 1, 13, 13)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_p_is_the_share_that_is_changed(p):
    n, images = 600, noise(32, 32, 600) // 2 + 10
    for step in (RandomAutocontrast(p), RandomEqualize(p), RandomGaussianBlur((1.0, 1.5), p)):
        floats = to_float(images)
        changed = (step(floats, draw(n)) != floats).flatten(1).any(dim=1).float().mean()
        assert abs(changed - p) < 0.07 * (0 < p < 1) + 1e-9, type(step).__name__


def chain(p):
    return [
        RandomHorizontalFlip(),
        RandomRotation(15, "nearest"),
        RandomAutocontrast(p),
        RandomEqualize(p),
        RandomGaussianBlur((0.1, 2.0), p),
    ]


GROUPS = {
    "original": View(Pipeline([])),
    "global": crop_view(96, (0.75, 1.0), chain(0.3), interpolation="bicubic"),
    "local": crop_view(48, (0.2, 0.6), chain(0.5), 4, interpolation="bicubic"),
}


def test_the_whole_chain_is_pils(shared):
    images, d = radiographs(shared), draw(seed=2)
    ours, pils = ViewSet(GROUPS)(images, d), PilViewSet(GROUPS)(images, d)
    assert torch.equal(ours[0], pils[0])
    for name, a, b in zip(ViewSet(GROUPS).names, ours, pils, strict=True):
        error = (a - b).abs() * 255
        assert a.shape == b.shape
        # A pixel of the crop that is one level off may be several off where equalisation is steep.
        assert error.mean() < 0.3, name
        assert (error > 1.01).float().mean() < 0.1, name
        assert error.max() < 32, name


def test_the_chain_is_distributed_as_torchvisions(shared):
    # Independent chance: brightness and contrast of many views as the released transform makes them.
    image = radiographs(shared)[:1]
    n = 300
    released = tv.Compose(
        [
            tv.RandomResizedCrop(48, (0.2, 0.6), interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomHorizontalFlip(),
            tv.RandomRotation(15),
            tv.RandomAutocontrast(0.5),
            tv.RandomEqualize(0.5),
            tv.ToTensor(),
        ]
    )
    torch.manual_seed(0)
    picture = Image.fromarray(image[0, 0].numpy())
    theirs = torch.stack([released(picture) for _ in range(n)])
    steps = chain(0.5)[:-1]
    views = ViewSet({"local": crop_view(48, (0.2, 0.6), steps, interpolation="bicubic")})
    (ours,) = views(image.expand(n, -1, -1, -1), draw(n))
    mirrored = (ours - ours.flip(-1)).abs().mean()
    assert mirrored > 0.05
    for what in (lambda v: v.mean((1, 2, 3)), lambda v: v.std((1, 2, 3)), lambda v: v[..., :24].mean((1, 2, 3))):
        assert stats.ks_2samp(what(ours), what(theirs)).pvalue > 1e-3
    black = [(v == 0).float().mean() for v in (ours, theirs)]
    assert abs(black[0] - black[1]) < 0.02


def test_pil_refuses_what_it_cannot_do():
    wide = noise().to(torch.uint16)
    with pytest.raises(ConfigError, match=r"8-bit images, got torch.uint16; set data.store.bits=8"):
        PilViewSet(GROUPS)(wide, draw())
    with pytest.raises(ConfigError, match="PIL has no ColorJitter"):
        PilViewSet({"a": View(Pipeline([ColorJitter(0.1)]))})(noise(), draw())


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomResizedCrop(8, interpolation="nearest"),
        lambda: RandomRotation(5, "bicubic"),
        lambda: RandomRotation((5, -5)),
        lambda: RandomAutocontrast(1.1),
        lambda: RandomEqualize(-0.1),
        lambda: RandomGaussianBlur((0.0, 1.0)),
        lambda: RandomGaussianBlur((2.0, 1.0)),
        lambda: RandomGaussianBlur(p=2),
    ],
)
def test_bad_settings(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize("step", [RandomRotation(5), RandomAutocontrast(), RandomEqualize(), RandomGaussianBlur()])
def test_chance_is_refused_in_evaluation(step):
    with pytest.raises(ConfigError, match="no place in evaluation"):
        step(to_float(noise()), None)

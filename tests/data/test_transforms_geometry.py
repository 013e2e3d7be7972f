"""Do crops, mirrors and turns move pixels as torchvision does, with its distribution, and each image alone?"""

import math

import pytest
import torch
import torchvision.transforms.v2 as tv
import torchvision.transforms.v2.functional as tvf
from scipy import stats

from cxrvl.data.transforms import (
    CenterCrop,
    Draw,
    Pipeline,
    RandomAffine,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
)
from cxrvl.data.transforms.resample import resample
from cxrvl.data.transforms.warps import affine_matrix
from cxrvl.errors import ConfigError


def pictures(n, height=64, width=64, seed=0):
    """Smooth random pictures: interpolation differences stay small, mistakes in place do not."""
    rough = torch.rand(n, 1, 9, 9, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(rough, (height, width), mode="bicubic").clamp(0, 1)


def draw(n, seed=0, epoch=0):
    return Draw(seed, epoch, torch.arange(n))


@pytest.mark.parametrize("shape", [(512, 512), (470, 470), (224, 224), (300, 411)])
def test_evaluation_equals_torchvision(shape):
    images = pictures(3, *shape)
    got = Pipeline([Resize(470), CenterCrop(448)])(images)
    want = tvf.center_crop(tvf.resize(images, [470], antialias=True), [448])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(101, 90), (90, 101)])
def test_odd_sizes_crop_as_torchvision(shape):
    images = pictures(1, *shape)
    assert torch.equal(CenterCrop(64)(images, None), tvf.center_crop(images, [64]))
    assert Resize(37)(images, None).shape == tvf.resize(images, [37]).shape
    assert Resize([30, 40])(images, None).shape == (1, 1, 30, 40)


def test_center_crop_refuses_small_images():
    with pytest.raises(ConfigError, match="put a Resize"):
        CenterCrop(65)(pictures(1), None)


def test_each_crop_equals_torchvisions_on_the_same_box():
    images = pictures(6, 96, 80)
    step = RandomResizedCrop(48, scale=(0.2, 1.0))
    boxes = step.boxes(96, 80, draw(6))
    got = step(images, draw(6))
    for image, (x, y, w, h), piece in zip(images, boxes.tolist(), got, strict=True):
        torch.testing.assert_close(
            piece, tvf.resized_crop(image, y, x, h, w, [48, 48], antialias=True), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize(
    ("scale", "ratio", "shape"), [((0.8, 1.0), (3 / 4, 4 / 3), (512, 512)), ((0.08, 1.0), (0.5, 2.0), (300, 400))]
)
def test_crop_distribution_is_torchvisions(scale, ratio, shape):
    n = 3000
    ours = RandomResizedCrop(8, scale, ratio).boxes(*shape, draw(n, seed=5)).double()
    theirs = torch.empty(n, 4)
    torch.manual_seed(0)
    reference = tv.RandomResizedCrop(8, scale, ratio)
    blank = torch.zeros(1, *shape)
    for i in range(n):
        p = reference.make_params([blank])
        theirs[i] = torch.tensor([p["left"], p["top"], p["width"], p["height"]])
    for name, a, b in zip(("x", "y", "width", "height"), ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-3, name
    areas = [boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs)]
    ratios = [boxes[:, 2] / boxes[:, 3] for boxes in (ours, theirs)]
    assert stats.ks_2samp(*areas).pvalue > 1e-3
    assert stats.ks_2samp(*ratios).pvalue > 1e-3
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= shape[1]).all()
    assert (ours[:, 1] + ours[:, 3] <= shape[0]).all()


def test_crop_falls_back_to_the_middle():
    # No rectangle of ratio 4 to 5 has 90 % of a square's area.
    boxes = RandomResizedCrop(8, scale=(0.9, 1.0), ratio=(4.0, 5.0)).boxes(100, 100, draw(4))
    assert boxes.tolist() == [[0, 37, 100, 25]] * 4


def test_mirror_share_and_pixels():
    images = pictures(400, 8, 8)
    out = RandomHorizontalFlip(0.3)(images, draw(400))
    mirrored = (out == images.flip(-1)).flatten(1).all(dim=1)
    assert ((out == images).flatten(1).all(dim=1) ^ mirrored).all()
    assert 0.22 < mirrored.float().mean() < 0.38
    assert torch.equal(RandomHorizontalFlip(0.0)(images, draw(400)), images)


@pytest.mark.parametrize(
    ("angle", "shift", "factor", "shear"),
    [(15, (0, 0), 1, 0), (0, (6, -4), 1, 0), (-30, (3, 5), 1.2, 10), (0, (0, 0), 0.8, -20)],
)
@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_affine_equals_torchvision(angle, shift, factor, shear, shape):
    image = pictures(1, *shape)
    one = [
        torch.tensor([float(v)], dtype=torch.float64)
        for v in (angle, shift[0] / shape[1], shift[1] / shape[0], factor, shear)
    ]
    got = resample(image, affine_matrix(*one, shape[1] / shape[0]), shape)
    want = tvf.affine(image, angle, list(shift), factor, [shear, 0.0], interpolation=tv.InterpolationMode.BILINEAR)
    # torchvision turns about the same point; at the picture's edge its mask differs by a pixel.
    inner = (slice(None), slice(None), slice(14, -14), slice(14, -14))
    torch.testing.assert_close(got[inner], want[inner], rtol=0, atol=2e-4)
    assert (got - want).abs().gt(1e-3).float().mean() < 0.06


def test_affine_parameters_stay_in_range():
    step = RandomAffine(degrees=10, translate=(0.1, 0.0), scale=(0.9, 1.1), p=0.5)
    matrices = step.matrix(500, 64, 64, draw(500))
    still = (matrices == torch.eye(3, dtype=torch.float64)).flatten(1).all(dim=1)
    assert 0.4 < still.float().mean() < 0.6
    forward = torch.linalg.inv(matrices[~still])
    angle = torch.rad2deg(torch.atan2(forward[:, 1, 0], forward[:, 0, 0]))
    factor = torch.linalg.det(forward[:, :2, :2]).sqrt()
    middle = forward @ torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64) - 0.5
    assert 8 < angle.abs().max() <= 10
    assert 0.9 <= factor.min() < 0.93
    assert 1.07 < factor.max() <= 1.1
    assert 0.08 < middle[:, 0].abs().max() <= 0.1
    assert middle[:, 1].abs().max() < 1e-9


def test_composition_mirrors_then_crops():
    # Flip and crop composed and resampled once = one after the other.
    images = pictures(16, 80, 80)
    steps = [RandomHorizontalFlip(), RandomResizedCrop(48, scale=(0.3, 1.0))]
    d = draw(16, seed=3)
    fused = Pipeline(steps)(images, d)
    flipped = steps[0](images, d.scope("RandomHorizontalFlip.0"))
    alone = steps[1](flipped, d.scope("RandomResizedCrop.0"))
    torch.testing.assert_close(fused, alone, rtol=0, atol=1e-6)
    assert not torch.equal(flipped, images)


def test_composition_turns_then_crops():
    images = pictures(16, 128, 128)
    steps = [RandomAffine(degrees=20, scale=(0.9, 1.1)), RandomResizedCrop(96, scale=(0.5, 1.0))]
    d = draw(16)
    fused = Pipeline(steps)(images, d)
    turned = steps[0](images, d.scope("RandomAffine.0"))
    alone = steps[1](turned, d.scope("RandomResizedCrop.0"))
    # Two resamplings blur a little more than one.
    assert (fused - alone).abs().mean() < 5e-3


def test_strong_shrinking_is_antialiased():
    stripes = torch.zeros(1, 1, 256, 256)
    stripes[..., ::2] = 1.0
    turn = affine_matrix(*[torch.tensor([v], dtype=torch.float64) for v in (5.0, 0.0, 0.0, 1.0, 0.0)], 1.0)
    small = resample(stripes, turn, (32, 32))[..., 6:-6, 6:-6]
    assert (small - 0.5).abs().max() < 0.1


def test_outside_is_air():
    out = RandomAffine(degrees=(45, 45))(torch.ones(1, 1, 64, 64), draw(1))
    assert out[0, 0, 0, 0] == 0
    assert out[0, 0, 32, 32] == 1


@pytest.mark.parametrize(
    "make",
    [lambda: RandomHorizontalFlip(1.5), lambda: Resize(0), lambda: CenterCrop([3, -1]), lambda: RandomResizedCrop(8, (0.5, 0.1)),
     lambda: RandomResizedCrop(8, (0.0, 1)), lambda: RandomAffine(translate=(2, 0)), lambda: RandomAffine(scale=(math.nan, 1))],
)  # fmt: skip
def test_bad_settings(make):
    with pytest.raises(ConfigError):
        make()


def test_crop_reaches_both_edges_equally():
    x, y, w, h = RandomResizedCrop(8, scale=(0.3, 0.9)).boxes(10, 10, draw(4000)).T
    for start, span in ((x, w), (y, h)):
        inside = span < 10
        near, far = (start[inside] == 0).double().mean(), (start + span == 10)[inside].double().mean()
        assert abs(near - far) < 0.03
        assert near > 0.2

"""Do the grey-value steps change what they promise, as torchvision where it has them, and each image alone?"""

import pytest
import torch
import torchvision.transforms.v2.functional as tvf

from cxrvl.data.transforms import ColorJitter, Draw, GaussianBlur, GaussianNoise, RandomGamma
from cxrvl.errors import ConfigError

STEPS = [
    ColorJitter(0.4, 0.4, 0.4),
    RandomGamma((0.5, 2.0), 0.7),
    GaussianNoise((0.01, 0.1), 0.7),
    GaussianBlur((0.3, 1.5), 0.7),
]


def pictures(n, size=40):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def draw(keys, seed=0):
    return Draw(seed, 0, torch.as_tensor(keys))


def test_jitter_equals_torchvision_in_either_order():
    step = ColorJitter(0.5, 0.5, 0.2)
    images, d = pictures(12), draw(range(12))
    got = step(images, d)
    brightness, contrast, first = step.factors(d)
    assert 0 < first.sum() < 12
    for i in range(12):
        b, c = float(brightness[i]), float(contrast[i])
        if first[i]:
            want = tvf.adjust_contrast(tvf.adjust_brightness(images[i], b), c)
        else:
            want = tvf.adjust_brightness(tvf.adjust_contrast(images[i], c), b)
        torch.testing.assert_close(got[i], want, rtol=0, atol=1e-6)


def test_jitter_factors_fill_their_range():
    brightness, contrast, first = ColorJitter(0.2, 1.5).factors(draw(range(5000)))
    assert 0.8 <= brightness.min() < 0.81
    assert 1.19 < brightness.max() <= 1.2
    assert 0.0 <= contrast.min() < 0.02
    assert 2.48 < contrast.max() <= 2.5
    assert 0.47 < first.float().mean() < 0.53
    assert torch.corrcoef(torch.stack([brightness, contrast]))[0, 1].abs() < 0.05


def test_gamma_is_a_power():
    images = pictures(50) * 0.9 + 0.05
    power = RandomGamma((0.5, 2.0), 0.6)(images, draw(range(50))).log() / images.log()
    spread = power.flatten(1).std(dim=1)
    assert spread.max() < 1e-2
    mean = power.flatten(1).mean(dim=1)
    assert 0.2 < ((mean - 1).abs() < 1e-3).float().mean() < 0.6
    assert mean.min() > 0.49
    assert mean.max() < 2.01


def test_noise_has_its_standard_deviation():
    grey = torch.full((40, 1, 64, 64), 0.5)
    out = GaussianNoise((0.02, 0.05))(grey, draw(range(40)))
    std = (out - 0.5).flatten(1).std(dim=1)
    assert 0.019 < std.min() < 0.03
    assert 0.04 < std.max() < 0.052
    # Neither two images nor two seeds share their noise.
    assert torch.corrcoef((out[:2] - 0.5).flatten(1))[0, 1].abs() < 0.06
    again = GaussianNoise((0.02, 0.05))(grey, draw(range(40), seed=1))
    assert not torch.equal(out, again)


def test_blur_equals_torchvision():
    step = GaussianBlur((1.0, 1.0))
    images = pictures(3)
    want = tvf.gaussian_blur(images, [2 * step.radius + 1] * 2, [1.0, 1.0])
    torch.testing.assert_close(step(images, draw(range(3))), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_each_image_alone_and_inputs_untouched(step):
    images = pictures(9)
    before = images.clone()
    whole = step(images, draw(range(9)))
    assert torch.equal(images, before)
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert not torch.equal(whole, images)
    order = [4, 2, 8]
    torch.testing.assert_close(step(images[order], draw(order)), whole[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_chance_is_refused_in_evaluation(step):
    with pytest.raises(ConfigError, match="no place in evaluation"):
        step(pictures(1), None)


@pytest.mark.parametrize("step", [RandomGamma(p=0.0), GaussianNoise(p=0.0), GaussianBlur(p=0.0), ColorJitter()])
def test_steps_can_be_switched_off(step):
    images = pictures(3)
    torch.testing.assert_close(step(images, draw(range(3))), images, rtol=0, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ColorJitter(-0.1),
        lambda: RandomGamma((0, 1)),
        lambda: GaussianNoise((0.2, 0.1)),
        lambda: GaussianBlur(p=2),
    ],
)
def test_bad_settings(make):
    with pytest.raises(ConfigError):
        make()


def test_blur_wider_than_the_image():
    with pytest.raises(ConfigError, match="too wide"):
        GaussianBlur((9.0, 9.0))(pictures(1, 16), draw([0]))

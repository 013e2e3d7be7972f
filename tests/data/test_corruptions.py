"""Are corruptions graded, repeatable, each image's own, and like their independent implementations?"""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cxrvl.data.random import Draw
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.transforms.corruptions import CORRUPTIONS, SEVERITIES, RandomCorruption, corrupt
from cxrvl.errors import ConfigError


@pytest.fixture(scope="module")
def images():
    source = PhantomSource(images=6, seed=3, size=128)
    return torch.from_numpy(np.stack([source.read(source.key(i)) for i in range(6)]))[:, None]


def draw(n, seed=0):
    return Draw(seed, 0, torch.arange(n))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_changes_every_image_more_and_stays_an_image(images, name):
    before = torch.zeros(len(images))
    for severity in SEVERITIES:
        spoiled = corrupt(images, name, severity, draw(6))
        assert spoiled.shape == images.shape
        assert spoiled.dtype == torch.float32
        assert 0 <= spoiled.min() <= spoiled.max() <= 1
        distance = (spoiled - images).pow(2).mean(dim=(1, 2, 3))
        assert (distance > before).all(), (name, severity)
        before = distance
    if name in ("rotation", "crop"):
        return
    # the worst is still the same picture: nothing moved, and it resembles its own original
    flat = [part.flatten(1) - part.flatten(1).mean(1, keepdim=True) for part in (spoiled, images)]
    alike = torch.nn.functional.normalize(flat[0]) @ torch.nn.functional.normalize(flat[1]).T
    assert alike.diagonal().min() > 0.5


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_spoiled_alike_in_any_batch(images, name):
    whole = corrupt(images, name, 4, draw(6))
    alone = torch.cat([corrupt(images[i : i + 1], name, 4, Draw(0, 0, torch.tensor([i]))) for i in range(6)])
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-6)
    other = corrupt(images, name, 4, draw(6, seed=1))
    assert torch.equal(whole, other) == (name in ("blur", "contrast", "jpeg"))


def test_noise_has_its_deviation_and_gamma_and_rotation_go_both_ways():
    grey = torch.full((64, 1, 32, 32), 0.5)
    noise = corrupt(grey, "noise", 3, draw(64)) - grey
    assert float(noise.std()) == pytest.approx(CORRUPTIONS["noise"].levels[2], rel=0.03)
    power = torch.log(corrupt(grey, "gamma", 5, draw(64))[:, 0, 0, 0]) / np.log(0.5)
    expected = CORRUPTIONS["gamma"].levels[4]
    near = [torch.isclose(power, torch.tensor(value), rtol=1e-4) for value in (expected, 1 / expected)]
    assert (near[0] ^ near[1]).all()
    assert 16 < near[0].sum() < 48


def test_jpeg_is_that_of_pillow(images):
    spoiled = corrupt(images, "jpeg", 5, draw(6))
    for image, got in zip(images, spoiled, strict=True):
        buffer = io.BytesIO()
        pixels = (image[0].numpy() * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=CORRUPTIONS["jpeg"].levels[4])
        want = np.asarray(Image.open(buffer), dtype=np.float32) / 255
        assert np.abs(got[0].numpy() - want).max() < 1e-6


def test_a_blur_looks_alike_at_any_resolution(images):
    small = torch.nn.functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    large = corrupt(images, "blur", 5, draw(6))
    shrunk = torch.nn.functional.interpolate(large, (64, 64), mode="bilinear", antialias=True)
    spoiled = corrupt(small, "blur", 5, draw(6))
    assert (shrunk - spoiled).abs().mean() < 0.25 * (shrunk - small).abs().mean()


def test_a_share_of_the_images_is_spoiled_each_in_its_own_way():
    images = torch.rand(300, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    step = RandomCorruption(0.3, ["noise", "contrast", "rotation"], [2, 4])
    chosen = step.chosen(draw(300))
    changed = (step(images, draw(300)) != images).flatten(1).any(1)
    assert changed.tolist() == [what is not None for what in chosen]
    assert 60 < changed.sum() < 120
    assert {what for what in chosen if what} == {(n, s) for n in ("noise", "contrast", "rotation") for s in (2, 4)}
    row = next(i for i, what in enumerate(chosen) if what and what[0] == "contrast")
    want = corrupt(images[row : row + 1], "contrast", chosen[row][1], Draw(0, 0, torch.tensor([row])))
    torch.testing.assert_close(step(images, draw(300))[row : row + 1], want)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: corrupt(torch.zeros(1, 1, 8, 8), "blurr", 1, draw(1)), "no corruption 'blurr'; did you mean 'blur'"),
        (lambda: corrupt(torch.zeros(1, 1, 8, 8), "blur", 6, draw(1)), r"severities are \[6\]"),
        (lambda: RandomCorruption(0.5, []), r"corruptions are \[\]"),
        (lambda: RandomCorruption(0.5, ["blur", "blur"]), "none of them twice"),
        (lambda: RandomCorruption(1.5), "p is 1.5"),
    ],
)
def test_what_cannot_be_is_refused(made, told):
    with pytest.raises(ConfigError, match=told):
        made()

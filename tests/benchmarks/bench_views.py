"""How much faster are ten views of a batch drawn together than image by image with PIL? Both on one core, in turns."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as tv

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.transforms import Draw

BATCH, SIZE, LOCAL = 16, 256, 128
NEEDED = 4
ROUNDS = 15


class RandomBlur:
    """The released chain's blur: PIL's, with a radius from Python's `random`."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, picture: Image.Image) -> Image.Image:
        if random.random() > self.p:
            return picture
        return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def chain(size: int, scale: tuple[float, float], p: float) -> tv.Compose:
    return tv.Compose(
        [
            tv.RandomResizedCrop(size, scale=scale, interpolation=tv.InterpolationMode.BICUBIC),
            tv.RandomHorizontalFlip(),
            tv.RandomRotation(15),
            tv.RandomAutocontrast(p),
            tv.RandomEqualize(p),
            RandomBlur(p),
            tv.ToTensor(),
        ]
    )


@pytest.fixture(scope="module")
def images(shared: Path) -> torch.Tensor:
    files = sorted((shared / "data" / "nih14_1024").glob("*.png"))
    pictures = [np.asarray(Image.open(file).convert("L").resize((SIZE, SIZE), 2)) for file in files]
    return torch.from_numpy(np.stack([pictures[i % len(pictures)] for i in range(BATCH)]))[:, None]


def test_ten_views(images: torch.Tensor) -> None:
    torch.set_num_threads(1)
    pictures = [Image.fromarray(image).convert("RGB") for image in images[:, 0].numpy()]
    whole, large, small = tv.ToTensor(), chain(SIZE, (0.75, 1.0), 0.3), chain(LOCAL, (0.2, 0.6), 0.5)
    sides: dict[str, Callable[[int], object]] = {
        "PIL image by image, RGB": lambda _: [
            [whole(picture), large(picture), *(small(picture) for _ in range(8))] for picture in pictures
        ]
    }
    for option in ("released", "cxr_safe", "released_pil"):
        views = build(resolved(compose_config([f"+task/views={option}", f"data.input_size={SIZE}"]))["task"]["views"])
        sides[option] = lambda epoch, views=views: views(images, Draw(0, epoch, torch.arange(BATCH)))  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for epoch in range(ROUNDS):
        for name, draw in sides.items():
            start = time.process_time()
            draw(epoch)
            seconds[name].append(time.process_time() - start)
    print(f"\nten views of {BATCH} images at {SIZE}/{LOCAL} px, CPU time of the fastest quarter of {ROUNDS} batches")
    fastest = {name: float(np.mean(sorted(times)[: ROUNDS // 4])) for name, times in seconds.items()}
    base = fastest["PIL image by image, RGB"]
    for name, time_ in fastest.items():
        print(f"  {name:24} {BATCH / time_:6.0f} images/s  {base / time_:5.2f} x")
    assert base / fastest["released"] >= NEEDED

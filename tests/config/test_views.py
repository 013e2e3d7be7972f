"""Can every set of views under conf/ be composed, built and drawn at the input size?"""

import pytest
import torch

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, config_dir, resolved
from cxrvl.data.transforms import Draw, PilViewSet, RandomEqualize, RandomHorizontalFlip, ViewSet

OPTIONS = sorted(path.stem for path in (config_dir() / "task" / "views").glob("*.yaml"))
IMAGES = torch.randint(0, 256, (3, 1, 72, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TEN = ["original", "global", *(f"local.{i}" for i in range(8))]


def views(option, *overrides):
    config = resolved(compose_config([f"+task/views={option}", "data.input_size=64", *overrides]))
    return build(config["task"]["views"])


def test_the_options():
    assert {"cxr_safe", "released", "released_pil"} <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_ten_views_at_the_input_size_and_half_of_it(option):
    made = views(option)
    assert made.names == TEN
    drawn = made(IMAGES, Draw(0, 0, torch.arange(3)))
    assert [view.shape[-2:] for view in drawn] == [(64, 64)] * 2 + [(32, 32)] * 8
    assert made.sizes(72, 72) == [(64, 64)] * 2 + [(32, 32)] * 8


@pytest.mark.parametrize("option", OPTIONS)
def test_what_recipes_vary_is_one_override(option):
    group = "task.views.groups.local"
    made = views(option, f"{group}.count=2", f"{group}.size=24", f"{group}.scale=[0.1,0.3]")
    assert made.names == [*TEN[:2], "local.0", "local.1"]
    assert made.sizes(72, 72)[-1] == (24, 24)
    assert made.groups["local"].pipeline.steps[0].scale == (0.1, 0.3)
    assert views(option, f"{group}.count=0").names == TEN[:2]


def test_the_reference_draws_the_same_views():
    ours, pils = views("released"), views("released_pil")
    assert type(ours) is ViewSet
    assert type(pils) is PilViewSet
    smooth = torch.nn.functional.avg_pool2d(IMAGES.float(), 9, 1, 4).to(torch.uint8)
    d = Draw(0, 0, torch.arange(3))
    for a, b in zip(ours(smooth, d), pils(smooth, d), strict=True):
        assert (a - b).abs().mean() < 1 / 255


def test_the_recommended_views_keep_sides_and_densities():
    kinds = {type(step) for view in views("cxr_safe").groups.values() for step in view.pipeline.steps}
    assert not kinds & {RandomHorizontalFlip, RandomEqualize}

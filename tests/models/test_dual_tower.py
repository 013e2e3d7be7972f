"""Do the towers of all kinds end in one space, of length 1, and does a frozen one stay as it is?"""

import math

import pytest
import torch
from small_dual_towers import RESNET, VIT, pairs, text, tower
from torch import nn

from cxrvl.errors import ConfigError, DataError, WeightsError
from cxrvl.models.acm import ACM
from cxrvl.models.dual_tower import DualTower
from cxrvl.models.open_clip_towers import OpenClipImage, OpenClipText
from cxrvl.models.projection import Mlp, NormedLinear, ResidualAdapter
from cxrvl.models.timm_image import TimmImage

VISION = {"width": 32, "layers": 1, "head_width": 16, "patch_size": 16}
TEXT = {"width": 32, "heads": 2, "layers": 1}
EVA = {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
BACKBONES = {
    "resnet": lambda in_channels: RESNET(in_channels=in_channels),
    "acm": lambda in_channels: RESNET(in_channels=in_channels, context=lambda width: ACM(width, groups=2)),
    "convnext": lambda in_channels: TimmImage("test_convnext", in_channels=in_channels),
    "vit": lambda in_channels: TimmImage("test_vit", 32, in_channels),
    "eva02": lambda in_channels: TimmImage("eva02_large_patch14_clip_336", 32, in_channels, options=EVA),
}


def embedded(model, batch):
    return model(batch["image"], model.tokenize(batch["text"], batch["body"]))


@pytest.mark.parametrize("name", BACKBONES)
def test_image_towers_of_all_kinds(name):
    model = tower(BACKBONES[name]).eval()
    image, words = embedded(model, pairs())
    assert image.shape == words.shape == (6, 16)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(words.norm(dim=1), torch.ones(6))
    alone = model.encode_image(pairs()["image"][:1])
    torch.testing.assert_close(alone, image[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "side"), [("resnet", 1), ("vit", 2), ("eva02", 4), ("own_vit", 4), ("convnext", 1)])
def test_places(name, side):
    model = tower(VIT if name == "own_vit" else BACKBONES[name]).eval()
    images = pairs()["image"]
    places = model.encode_patches(images)
    assert places.shape == (6, side, side, 16)
    torch.testing.assert_close(places.norm(dim=-1), torch.ones(6, side, side))
    if name == "resnet":  # one place: the average is it
        torch.testing.assert_close(places[:, 0, 0], model.encode_image(images))
    left = model.encode_patches(torch.cat([images[..., :16], torch.zeros_like(images[..., 16:])], dim=-1))
    assert not torch.allclose(left, places, atol=1e-3)


@pytest.mark.parametrize("projection", [nn.Linear, NormedLinear, Mlp, ResidualAdapter])
def test_projections(projection):
    model = tower(image_projection=projection, text_projection=projection).eval()
    image, words = embedded(model, pairs())
    assert image.shape == words.shape == (6, 16)


def test_a_new_residual_adapter_adds_nothing():
    adapter = ResidualAdapter(8, 4)
    features = torch.randn(3, 8)
    torch.testing.assert_close(adapter(features), adapter.out(features))


def test_open_clip_towers():
    image = lambda in_channels: OpenClipImage("ViT-B-32", image_size=32, in_channels=in_channels, options=VISION)  # noqa: E731
    words = OpenClipText("ViT-B-32", options=TEXT)
    model = DualTower(tower(RESNET).image_tower, words, nn.Linear(64, 8), nn.Linear(words.width, 8))
    assert words.width == 512
    batch = pairs()
    embeddings = embedded(model.eval(), batch)[1]
    assert embeddings.shape == (6, 8)
    tokens = words.tokenize(batch["text"], batch["body"])
    expected = words.network(words.read(batch["text"]))
    torch.testing.assert_close(words(tokens.take(slice(0, 2))), expected[:2], atol=1e-5, rtol=1e-5)
    assert tokens.attention_mask.sum(1).tolist() == [int((row != 0).sum()) for row in words.read(batch["text"])]
    full = words.tokenize(["effusion " * 200, "a"])
    torch.testing.assert_close(words(full.take(slice(0, 1))), words.network(words.read(["effusion " * 200])))
    backbone = image(3)
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 512)
    with pytest.raises(ConfigError, match="gives no features of places"):
        backbone.places(torch.rand(2, 3, 32, 32))
    with pytest.raises(DataError, match="no token to pool"):
        words.tokenize(["", "a"])


def test_frozen_towers_do_not_learn_and_stay_in_evaluation_mode():
    model = tower(RESNET, freeze=["image_tower"]).train()
    assert not model.image_tower.training
    assert model.text_tower.training
    image, words = embedded(model, pairs())
    ((image @ words.T).sum()).backward()
    assert all(p.grad is None for p in model.image_tower.parameters())
    assert model.image_projection.weight.grad is not None
    assert next(model.text_tower.parameters()).grad is not None
    kept = {key for key in model.state_dict() if key.startswith("image_tower.backbone.")}
    assert kept


def test_fixed_statistics_leave_the_running_ones():
    model = tower(RESNET, fixed_statistics=True).train()
    before = model.image_tower.backbone.state_dict()["bn1.running_mean"].clone()
    embedded(model, pairs())
    torch.testing.assert_close(model.image_tower.backbone.state_dict()["bn1.running_mean"], before)


def test_dot_compares_what_comes_and_takes_the_scale_as_it_is_learnt():
    model = tower(similarity="dot").eval()
    image, words = embedded(model, pairs())
    assert (image.norm(dim=1) - 1).abs().max() > 1e-3
    torch.testing.assert_close(model.scale, torch.tensor(math.log(1 / 0.07)))
    torch.testing.assert_close(tower().scale, torch.tensor(1 / 0.07))
    torch.testing.assert_close(model.similarities(image, words), image @ words.T)


def test_the_scale_stays_within_its_bounds():
    model = tower()
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.bound_scale()
    torch.testing.assert_close(model.scale, torch.tensor(100.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "cosin"}, "did you mean 'cosine'"),
        ({"logit_scale": 0.0}, r"model\.logit_scale=0\.0"),
        ({"logit_scale": 0.5}, "from 1 to 100, within which training keeps it"),
        ({"logit_scale": 101.0}, "from 1 to 100"),
        ({"freeze": ["image"]}, r"model\.freeze names 'image'"),
        ({"text_tower": nn.Linear(3, 3)}, "expected a text encoder"),
        ({"text_projection": lambda width, dim: nn.Linear(width + 1, dim)}, "features of width 32, which"),
        ({"text_projection": lambda width, dim: nn.Linear(width, dim + 1)}, "16 .image. and 17 .text. dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        tower(**options)


def test_names_that_are_not_there():
    with pytest.raises(ConfigError, match="timm has no model"):
        TimmImage("resnet51x")
    with pytest.raises(ConfigError, match="timm cannot build"):
        TimmImage("test_resnet", options={"no_such": 1})
    with pytest.raises(WeightsError, match="expected 'timm' or a"):
        TimmImage("test_resnet", weights="imagenet")
    with pytest.raises(ConfigError, match="open_clip has no model 'ViT-B-33'"):
        OpenClipText("ViT-B-33")
    with pytest.raises(WeightsError, match="no_such_tag"):
        OpenClipText("ViT-B-32", weights="no_such_tag", options=TEXT)


def test_a_text_tower_with_adapters_is_not_frozen_and_one_without_is():
    assert not tower().is_frozen("text_tower")
    assert tower(text_tower=text(freeze=True)).is_frozen("text_tower")

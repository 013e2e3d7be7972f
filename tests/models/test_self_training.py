"""Does the two-head network see each view as it is, whatever other views come with it?"""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError, DataError
from cxrvl.models.acm import ACM
from cxrvl.models.build import self_training
from cxrvl.models.distl_heads import ClassHead, FeatureHead
from cxrvl.models.image_encoder import ImageEncoder
from cxrvl.models.resnet import ResNet
from cxrvl.models.self_training import SelfTrainingNetwork
from cxrvl.models.timm_backbone import TimmBackbone
from cxrvl.models.vit import Vit

VIT = partial(Vit, image_size=32, embed_dim=16, depth=2, num_heads=2)
CNN = partial(ResNet, 18, layers=(1, 1, 1, 1), base_width=16, stem="small")
BACKBONES = {
    "vit": VIT,
    "cnn": CNN,
    "acm": partial(CNN, partial(ACM, groups=8)),
    "timm": partial(TimmBackbone, "tf_efficientnet_lite0"),
}


def network(backbone=VIT, prototypes: int | None = 24, **options) -> SelfTrainingNetwork:
    torch.manual_seed(0)
    head = None if prototypes is None else partial(FeatureHead, hidden=20, bottleneck=8, prototypes=prototypes)
    return self_training(backbone, partial(ClassHead, hidden=12), 3, head, **options).eval()


def some_views(batch: int = 2, sizes=(32, 32, 16, 32, 16, 24)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(batch, 1, size, size, generator=generator) for size in sizes]


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_view_is_what_it_is_alone_in_the_order_given(kind):
    model, views = network(BACKBONES[kind]).double(), [view.double() for view in some_views()]
    output = model.views(views, class_views=[3, 0])
    alone = [model.encoder(view) for view in views]
    torch.testing.assert_close(output.embeddings, torch.cat(alone))
    torch.testing.assert_close(output.features, torch.cat([model.feature_head(embedding) for embedding in alone]))
    torch.testing.assert_close(output.logits, torch.cat([model(views[i]).logits for i in (3, 0)]))


def test_images_do_not_depend_on_the_others_of_their_batch():
    model, views = network().double(), [view.double() for view in some_views(4)]
    whole = model.views(views, [0])
    part = model.views([view[2:3] for view in views], [0])
    for name in ("features", "embeddings"):
        by_view = getattr(whole, name).unflatten(0, (len(views), 4))
        torch.testing.assert_close(by_view[:, 2], getattr(part, name), rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.logits[2:3], part.logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("sizes", "calls"), [((32, 32, 16, 16), 2), ((32, 16, 32, 16), 2), ((32,) * 4, 1), ((32,), 1)])
def test_the_encoder_is_called_once_per_size(sizes, calls):
    model, seen = network(), []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    model.views(some_views(sizes=sizes), [0])
    assert len(seen) == calls
    assert sum(seen) == 2 * len(sizes)


@pytest.mark.parametrize("features", [False, []])
def test_without_features_the_feature_head_is_left_alone(features):
    output = network(prototypes=None).views(some_views(), [1], features)
    assert output.features is None
    assert output.logits.shape == (2, 3)


def test_chosen_features_are_those_of_the_chosen_views():
    model, views = network(), some_views()
    every = model.views(views, [0]).features.unflatten(0, (len(views), 2))
    torch.testing.assert_close(model.views(views, [0], [4, 1]).features, every[[4, 1]].flatten(0, 1))
    assert model.views(views, []).logits.shape == (0, 3)


@pytest.mark.parametrize("kind", BACKBONES)
def test_both_heads_teach_the_encoder(kind):
    model = network(BACKBONES[kind])
    views = some_views()
    for use in ("features", "logits"):
        model.zero_grad()
        output = getattr(model.views(views, [1]), use)
        (output * torch.randn_like(output)).sum().backward()
        missing = {name for name, p in model.encoder.named_parameters() if p.grad is None or not p.grad.any()}
        assert not missing - {name for name in missing if "attention.bias" in name}
        assert (model.class_head.mlp[0].weight.grad is None) == (use == "features")


def test_a_grey_image_is_the_repeated_one_and_normalised_as_the_config_says():
    encoder = network(mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4]).encoder
    grey = torch.rand(2, 1, 32, 32)
    colour = (grey - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    torch.testing.assert_close(encoder(grey), encoder.backbone(colour))
    torch.testing.assert_close(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))
    raw = network().encoder
    torch.testing.assert_close(raw(grey), raw.backbone(grey.expand(-1, 3, -1, -1)))
    assert not [key for key in encoder.state_dict() if "mean" in key or "std" in key]


def test_the_attention_is_that_of_the_normalised_image():
    encoder, grey = network(mean=[0.5] * 3, std=[0.25] * 3).encoder, torch.rand(1, 1, 32, 48)
    expected = encoder.backbone.attention(encoder.normalised(grey))
    assert torch.equal(encoder.attention(grey), expected)
    assert expected.shape == (1, 2, 25, 25)
    with pytest.raises(ConfigError, match="ResNet has no attention"):
        network(CNN).encoder.attention(grey)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: network(prototypes=None).views(some_views(), [0]), ConfigError, "feature_head"),
        (lambda: network().views([*some_views(2), *some_views(3)], [0]), DataError, r"\[2, 3\] images"),
        (lambda: network().views([], [0]), DataError, "0 views"),
        (lambda: network()(torch.rand(2, 2, 32, 32)), DataError, r"grey images \(B, 1, H, W\) or \(B, 3, H, W\)"),
        (lambda: network(in_channels=1)(torch.rand(2, 3, 32, 32)), DataError, r"grey images \(B, 1, H, W\)$"),
        (lambda: ImageEncoder(VIT(in_channels=1)), ConfigError, "the backbone takes 1"),
        (lambda: network(std=[1, 1, 0]), ConfigError, "above 0"),
        (lambda: ClassHead(4, 0), ConfigError, "num_labels=0"),
        (lambda: ClassHead(4, 2, layers=0), ConfigError, "layers=0"),
        (lambda: FeatureHead(4, layers=0), ConfigError, "layers=0"),
    ],
)
def test_what_does_not_fit_is_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize(("layers", "batch_norm"), [(1, False), (2, True), (3, False), (4, True)])
def test_heads_of_any_depth(layers, batch_norm):
    head = FeatureHead(6, 10, 5, 7, layers, batch_norm)
    kinds = [type(module) for module in head.mlp]
    assert kinds.count(nn.Linear) == layers
    assert kinds.count(nn.GELU) == layers - 1
    assert kinds.count(nn.BatchNorm1d) == (layers - 1 if batch_norm else 0)
    torch.testing.assert_close(head.bottleneck(torch.randn(4, 6)).norm(dim=1), torch.ones(4))
    assert head(torch.randn(4, 6)).shape == (4, 7)
    assert ClassHead(6, 2, 10, layers)(torch.randn(4, 6)).shape == (4, 2)


def test_prototypes_keep_unit_length_unless_their_scale_is_trained():
    x = torch.randn(4, 6)
    for freeze in (True, False):
        head = FeatureHead(6, 10, 5, 7, freeze_norm=freeze)
        torch.testing.assert_close(head.last_layer.weight.norm(dim=1), torch.ones(7))
        optimizer = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], lr=1.0)
        head(x).square().sum().backward()
        optimizer.step()
        changed = (head.last_layer.weight.norm(dim=1) - 1).abs().max().item()
        assert changed < 1e-6 if freeze else changed > 1e-3


def test_the_older_weight_norm_s_keys_load():
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Linear(5, 7, bias=False))
    old.weight_g.data.fill_(1.0)
    head = FeatureHead(6, 10, 5, 7)
    head.last_layer.load_state_dict(old.state_dict())
    x = torch.randn(3, 5)
    torch.testing.assert_close(head.last_layer(x), old(x))

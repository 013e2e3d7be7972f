"""Do the backbones carry their modules where they should, and under the published key names?"""

import copy
from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM
from cxrvl.models.backbones import count_acms
from cxrvl.models.context import NonLocal, SqueezeExcite
from cxrvl.models.densenet import DenseNet121
from cxrvl.models.resnet import ResNet
from cxrvl.models.timm_backbone import TimmBackbone

RELEASED = partial(ACM, attention_bias=True)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("plain", "carrying", "modules", "added"),
    [
        (lambda: ResNet(50), lambda: ResNet(50, RELEASED), 16, 682_624),
        (lambda: ResNet(50), lambda: ResNet(50, RELEASED, stages=(2, 3, 4)), 13, 673_600),
        (lambda: ResNet(101), lambda: ResNet(101, RELEASED), 33, None),
        (lambda: ResNet(18), lambda: ResNet(18, RELEASED), 8, None),
        (lambda: ResNet(34), lambda: ResNet(34, RELEASED), 16, None),
        (DenseNet121, lambda: DenseNet121(RELEASED), 4, 85_888),
    ],
)
def test_modules_and_parameters_are_counted(plain, carrying, modules, added):
    model = carrying()
    assert count_acms(model) == modules == len(model.contexts())
    own = sum(parameters(context) for context in model.contexts().values())
    assert parameters(model) - parameters(plain()) == own
    if added is not None:
        assert own == added
    width = {id(context): context.channels for context in model.contexts().values()}
    assert own == sum(c**2 // 32 + 7 * c // 2 + 64 for c in width.values())


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_resnet_without_modules_is_torchvision_s(depth):
    torch.manual_seed(0)
    published = getattr(torchvision.models, f"resnet{depth}")(weights=None).eval()
    ours = ResNet(depth).eval()
    state = {key: value for key, value in published.state_dict().items() if not key.startswith("fc.")}
    assert state.keys() == ours.state_dict().keys()
    ours.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    expected = nn.Sequential(*list(published.children())[:-2])(x)
    torch.testing.assert_close(ours(x), expected)


def test_densenet_without_modules_is_torchvision_s():
    torch.manual_seed(0)
    published = torchvision.models.densenet121(weights=None).eval()
    ours = DenseNet121().eval()
    ours.load_state_dict({k: v for k, v in published.state_dict().items() if not k.startswith("classifier.")})
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), published.features(x).relu())


@pytest.mark.parametrize("context", [SqueezeExcite, NonLocal, partial(ACM, groups=8)])
@pytest.mark.parametrize("depth", [18, 50])
def test_any_module_sits_before_the_skip_addition(context, depth):
    torch.manual_seed(0)
    model = ResNet(depth, context, stages=(3,), base_width=16, stem="small").eval()
    assert {name.split(".")[0] for name in model.contexts()} == {"layer3"}
    block = model.layer3[0]
    x = torch.randn(2, block.conv1.in_channels, 8, 8)
    residual = block.relu(block.bn1(block.conv1(x)))
    last = block.bn2(block.conv2(residual))
    if depth == 50:
        last = block.bn3(block.conv3(last.relu()))
    torch.testing.assert_close(block(x), (block.context(last) + block.downsample(x)).relu())


def test_narrow_networks_and_stems():
    x = torch.randn(1, 3, 64, 96)
    assert ResNet(18, base_width=16, stem="small")(x).shape == (1, 128, 4, 6)
    assert ResNet(18, base_width=16, stem="small", stem_stride=1)(x).shape == (1, 128, 8, 12)
    assert ResNet(18, base_width=16)(x).shape == (1, 128, 2, 3)
    assert ResNet(18, layers=(1, 1, 1, 1), base_width=8, in_channels=1)(x[:, :1]).shape == (1, 64, 2, 3)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ResNet(19), "depth=19"),
        (lambda: ResNet(18, layers=(1, 1, 1)), "4 stages"),
        (lambda: ResNet(18, stem="imagenet", stem_stride=1), "stem_stride=1"),
        (lambda: ResNet(18, stem="large"), "'large'"),
        (lambda: ResNet(18, RELEASED, stages=(5,)), "1..4"),
        (lambda: ResNet(18, RELEASED, base_width=16), "16 channels cannot be divided into 32 groups"),
        (lambda: DenseNet121(RELEASED, stages=(0,)), "1..4"),
        (lambda: TimmBackbone("resnet999"), "resnet999"),
        (lambda: TimmBackbone("vit_tiny_patch16_224")(torch.zeros(1, 3, 224, 224)), "convolutional"),
        (lambda: TimmBackbone("resnet10t", SqueezeExcite, stages=(6,)), "1..4"),
        (lambda: ResNet(18, RELEASED, stages=4), "expected a list"),
    ],
)
def test_impossible_settings_are_named(build, words):
    with pytest.raises(ConfigError) as error:
        build()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "stages"), [("tf_efficientnet_lite0", (1, 2, 3, 4)), ("convnext_atto", (2, 4)), ("resnet10t", (3,))]
)
def test_timm_networks_carry_one_module_per_stage(name, stages):
    torch.manual_seed(0)
    model = TimmBackbone(name, partial(ACM, groups=4), stages).eval()
    assert count_acms(model) == len(stages)
    assert [context.stage for context in model.contexts().values()] == list(stages)
    bare = TimmBackbone(name).eval()
    bare.network.load_state_dict(model.network.state_dict())
    x = torch.randn(2, 3, 64, 64)
    y = model(x)
    assert y.shape == (2, model.num_features, 2, 2)
    assert not torch.allclose(y, bare(x))
    y.square().mean().backward()
    assert all(context.key_attention.weight.grad.abs().sum() > 0 for context in model.contexts().values())
    assert model.context_keys() == model.state_dict().keys() - bare.state_dict().keys()


def test_a_copied_timm_backbone_uses_its_own_modules():
    torch.manual_seed(0)
    model = TimmBackbone("resnet10t", SqueezeExcite).eval()
    twin = copy.deepcopy(model)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(twin(x), model(x))
    for parameter in twin.inserted.parameters():
        nn.init.constant_(parameter, 3.0)
    assert not torch.allclose(twin(x), model(x))

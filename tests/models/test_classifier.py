"""Does a grey image reach the network as its weights expect it?"""

from functools import partial

import pytest
import torch

from cxrvl.errors import ConfigError, DataError
from cxrvl.models.acm import ACM
from cxrvl.models.classifier import ImageClassifier
from cxrvl.models.heads import AveragePoolHead, MaxPoolHead
from cxrvl.models.resnet import ResNet


def small(in_channels: int = 3, **options) -> ImageClassifier:
    torch.manual_seed(0)
    backbone = ResNet(18, partial(ACM, groups=8), base_width=16, stem="small", in_channels=in_channels)
    return ImageClassifier(backbone, MaxPoolHead, 5, in_channels=in_channels, **options)


def test_output_shapes_keep_a_batch_of_one():
    output = small().eval()(torch.rand(1, 1, 64, 96))
    assert output.logits.shape == (1, 5)
    assert output.maps.shape == (1, 5, 4, 6)


def test_grey_is_repeated_and_normalised_and_the_numbers_are_not_saved():
    model = small().eval()
    image = torch.rand(2, 1, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    rgb = (image.repeat(1, 3, 1, 1) - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(model(image).maps, model.head(model.backbone(rgb))[1])
    assert not {"mean", "std"} & set(model.state_dict())


def test_one_input_channel():
    model = small(in_channels=1)
    assert model.backbone.conv1.weight.shape[1] == 1
    assert model.mean.flatten().tolist() == pytest.approx([0.449], abs=1e-4)
    assert model.eval()(torch.rand(2, 1, 64, 64)).logits.shape == (2, 5)
    assert small(in_channels=1, mean=[0.5], std=[0.25]).std.item() == 0.25


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="mean has 1 values for 3"):
        small(mean=[0.5])
    with pytest.raises(ConfigError, match="above 0"):
        small(std=[1, 0, 1])
    with pytest.raises(ConfigError, match="backbone takes 3"):
        ImageClassifier(ResNet(18, base_width=16), AveragePoolHead, 2, in_channels=1)
    with pytest.raises(ConfigError, match="num_labels=0"):
        ImageClassifier(ResNet(18, base_width=16), AveragePoolHead, 0)


def test_colour_images_are_refused():
    with pytest.raises(DataError, match=r"\(2, 3, 64, 64\)"):
        small()(torch.rand(2, 3, 64, 64))

"""Do the heads explain their logits by their maps?"""

import pytest
import torch
from torch import nn

from cxrvl.models.heads import AveragePoolHead, MaxPoolHead, PCAMHead

HEADS = (MaxPoolHead, AveragePoolHead, PCAMHead)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("batch", [1, 3])
def test_shapes_and_gradients(head, batch):
    torch.manual_seed(0)
    module = head(8, 5)
    logits, maps = module(torch.randn(batch, 8, 3, 4))
    assert logits.shape == (batch, 5)
    assert maps.shape == (batch, 5, 3, 4)
    logits.sum().backward()
    assert module.classifier.weight.grad.abs().sum() > 0


def test_max_head_takes_the_maximum():
    logits, maps = MaxPoolHead(8, 2)(torch.randn(2, 8, 3, 3))
    torch.testing.assert_close(logits, maps.amax((2, 3)))


def test_average_head_is_global_average_pooling_and_a_linear_layer():
    torch.manual_seed(0)
    head, features = AveragePoolHead(8, 3), torch.randn(2, 8, 4, 5)
    linear = nn.Linear(8, 3)
    linear.weight.data, linear.bias.data = head.classifier.weight.data[:, :, 0, 0], head.classifier.bias.data
    logits, _ = head(features)
    torch.testing.assert_close(logits, linear(features.mean((2, 3))))


def test_pcam_pools_features_with_probabilities_and_classifies_them_by_the_same_layer():
    torch.manual_seed(0)
    head, features = PCAMHead(8, 3).double(), torch.randn(2, 8, 4, 5, dtype=torch.float64)
    logits, maps = head(features)
    probability = maps.sigmoid()
    for label in range(3):
        weight = probability[:, label] / probability[:, label].sum((1, 2), keepdim=True)
        pooled = (weight[:, None] * features).sum((2, 3))
        expected = pooled @ head.classifier.weight[label, :, 0, 0] + head.classifier.bias[label]
        torch.testing.assert_close(logits[:, label], expected)


def test_pcam_survives_very_negative_maps():
    head = PCAMHead(2, 1)
    nn.init.constant_(head.classifier.bias, -300.0)
    logits, _ = head(torch.randn(1, 2, 3, 3))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert head.classifier.weight.grad.isfinite().all()

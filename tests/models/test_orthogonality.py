"""Does the collector add up the right modules in the right way, once per forward pass?"""

import pytest
import torch
from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM
from cxrvl.models.orthogonality import OrthogonalityCollector


def model() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(ACM(8, groups=2), ACM(8, groups=2), ACM(8, groups=2))
    for module, stage in zip(network, (1, 2, 2), strict=True):
        module.stage = stage
    return network


DOTS = torch.tensor([[1.0, -2.0], [-3.0, 1.0], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("scope", "reduction", "expected"),
    [
        ("all", "abs_of_mean", 1.0),
        ("all", "signed_sum", -1.0),
        ("all", "per_sample_abs", 4.0),
        ("last_stage", "abs_of_mean", 0.5),
        ("last_stage", "signed_sum", -0.5),
        ("last_stage", "per_sample_abs", 2.5),
    ],
)
def test_hand_worked_values(scope, reduction, expected):
    network = model()
    collector = OrthogonalityCollector(network, scope, reduction)
    for module, dot in zip(network, DOTS, strict=True):
        module.dot = dot
    assert collector().item() == pytest.approx(expected)
    assert all(module.dot is None for module in network)


def test_value_is_differentiable_and_read_once():
    network = model()
    collector = OrthogonalityCollector(network)
    network(torch.randn(2, 8, 3, 3))
    collector().backward()
    assert network[0].key_attention.weight.grad.abs().sum() > 0
    with pytest.raises(RuntimeError, match="call the model"):
        collector()


def test_baselines_give_zero():
    assert OrthogonalityCollector(nn.Conv2d(1, 1, 1), "last_stage")().item() == 0


def test_unknown_words_and_unknown_stages_are_refused():
    with pytest.raises(ConfigError, match="last_stage"):
        OrthogonalityCollector(model(), "first")
    with pytest.raises(ConfigError, match="per_sample_abs"):
        OrthogonalityCollector(model(), "all", "sum")
    with pytest.raises(ConfigError, match="placed by a backbone"):
        OrthogonalityCollector(nn.Sequential(ACM(8, groups=2)), "last_stage")

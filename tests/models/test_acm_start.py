"""With uniform attentions and an open gate, ACM starts as the network it was put into, and learns to compare."""

import pytest
import torch

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM


def test_zero_attention_starts_as_a_scaled_identity_and_gets_gradients():
    torch.manual_seed(0)
    module = ACM(16, groups=4, attention_init="zero", gate_init=0.9)
    torch.nn.init.zeros_(module.gate_expand.weight)
    x = torch.randn(2, 16, 5, 4)
    y = module(x)
    torch.testing.assert_close(y, 0.9 * x)
    (y * torch.randn_like(y)).sum().backward()
    for attention in (module.key_attention, module.query_attention):
        assert attention.weight.grad.abs().max() > 1e-4
    # Opposite gradients part the two attentions in the first step.
    torch.testing.assert_close(module.key_attention.weight.grad, -module.query_attention.weight.grad)


def test_the_default_start_is_the_release():
    assert ACM(16, groups=4).key_attention.weight.abs().max() > 0


def test_another_start_is_refused():
    with pytest.raises(ConfigError, match="attention_init='one'"):
        ACM(16, groups=4, attention_init="one")

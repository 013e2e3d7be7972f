"""Do the comparator modules compute what their papers say, and start where they should?"""

import pytest
import torch
from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM
from cxrvl.models.context import NonLocal, SqueezeExcite, build_context, check_stages


def test_squeeze_excite_scales_channels_and_costs_what_the_paper_says():
    torch.manual_seed(0)
    module = SqueezeExcite(64)
    x = torch.randn(2, 64, 5, 4)
    ratio = module(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert ((ratio > 0) & (ratio < 1)).all()
    assert sum(p.numel() for p in module.parameters()) == 2 * 64 * 4 + 4 + 64


@pytest.mark.parametrize("subsample", [False, True])
def test_non_local_is_the_identity_at_the_start_and_learns(subsample):
    torch.manual_seed(0)
    module = NonLocal(16, subsample=subsample)
    x = torch.randn(2, 16, 5, 3)
    torch.testing.assert_close(module(x), x)
    module(x).square().sum().backward()
    assert module.norm.weight.grad.abs().sum() > 0


def test_non_local_equals_the_equation():
    torch.manual_seed(0)
    module = NonLocal(8).eval()
    nn.init.ones_(module.norm.weight)
    x = torch.randn(1, 8, 3, 4)
    theta, phi, g = (layer(x)[0].flatten(1) for layer in (module.theta, module.phi, module.g))
    response = torch.stack([(theta[:, i] @ phi).softmax(0) @ g.T for i in range(12)], 1).view(1, 4, 3, 4)
    torch.testing.assert_close(module(x), x + module.norm(module.project(response)))


def test_settings_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match="8 channels"):
        SqueezeExcite(8, reduction=16)
    with pytest.raises(ConfigError, match="8 channels"):
        NonLocal(8, reduction=16)
    with pytest.raises(ConfigError, match=r"1\.\.4"):
        check_stages((0, 1), 4)
    with pytest.raises(ConfigError, match="different"):
        check_stages((2, 2), 4)
    assert check_stages((4, 1), 4) == (1, 4)


def test_an_acm_learns_its_stage():
    assert build_context(lambda channels: ACM(channels, groups=4), 16, 3).stage == 3

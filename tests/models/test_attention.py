"""Are captured attention maps the ones the forward pass used, and ordered without looking at annotations?"""

import math

import torch
from torch import nn

from cxrvl.models.acm import ACM
from cxrvl.models.attention import capture_attention, entropy, order_by_entropy, upsample


def test_capture_names_every_module_and_changes_no_output():
    torch.manual_seed(0)
    network = nn.Sequential(ACM(8, groups=2), nn.ReLU(), ACM(8, groups=4, reduction=1, parts="key"))
    x = torch.randn(3, 8, 5, 4)
    expected = network(x)
    with capture_attention(network) as maps:
        torch.testing.assert_close(network(x), expected)
    assert list(maps) == ["0", "2"]
    assert maps["0"].key.shape == (3, 2, 5, 4)
    torch.testing.assert_close(maps["0"].query.sum((2, 3)), torch.ones(3, 2))
    torch.testing.assert_close(maps["0"].difference.sum((2, 3)), torch.zeros(3, 2), atol=1e-6, rtol=0)
    assert maps["2"].query is None
    assert maps["2"].difference is None
    assert not maps["0"].key.requires_grad
    maps.clear()
    network(x)
    assert not maps


def test_captured_maps_attend_where_the_weights_say():
    module = ACM(4, groups=2, reduction=1)
    nn.init.constant_(module.key_attention.weight, 5.0)
    x = torch.zeros(1, 4, 3, 3)
    x[0, :, 1, 2] = 4.0
    with capture_attention(module) as maps:
        module(x)
    assert maps[""].key[0, 0, 1, 2] > 0.99


def test_order_puts_the_most_concentrated_group_first():
    maps = torch.full((1, 3, 4, 4), 1 / 16)
    maps[0, 1] = 0
    maps[0, 1, 2, 2] = 1
    maps[0, 2] = 0
    maps[0, 2, :2, 2] = 0.5
    torch.testing.assert_close(entropy(maps), torch.tensor([[math.log(16), 0.0, math.log(2)]]))
    assert order_by_entropy(maps).tolist() == [[1, 2, 0]]


def test_upsampling_keeps_sums_of_flat_maps_and_the_place_of_peaks():
    flat = upsample(torch.full((1, 1, 4, 4), 1 / 16), (32, 48))
    assert flat.shape == (1, 1, 32, 48)
    torch.testing.assert_close(flat.sum(), torch.tensor(1.0))
    peak = torch.zeros(1, 1, 4, 4)
    peak[0, 0, 1, 3] = 1
    row, column = divmod(upsample(peak, (40, 40)).flatten().argmax().item(), 40)
    assert 10 <= row < 20
    assert column >= 30

"""Is a draw a pure function of seed, epoch, key, name and column, and are its numbers uniform and independent?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cxrvl.data.random import GOLDEN, Draw, _mix, _mix_all, _signed


def draw(keys, seed=1, epoch=2):
    return Draw(seed, epoch, torch.as_tensor(keys))


def test_values_are_fixed_for_ever():
    # Continued runs rest on these numbers.
    expected = torch.tensor(
        [
            [0.8262967467308044, 0.2217501401901245, 0.7085337042808533],
            [0.600222647190094, 0.41327106952667236, 0.8163155317306519],
        ]
    )
    assert torch.equal(draw([0, 7]).uniform("crop", 3), expected)


def test_first_step_is_splitmix64():
    # Against plain Python integers: tensors and arrays wrap and shift as 64-bit words do.

    # The published first output of splitmix64 with seed 0.
    assert _mix(GOLDEN) == 0xE220A8397B1DCDAF
    words = [0, 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0]
    signed = torch.tensor([_signed(word) for word in words])
    for got in (_mix_all(signed), _mix_all(signed.numpy())):
        assert got.tolist() == [_signed(_mix(word)) for word in words]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=20, unique=True), st.randoms())
def test_independent_of_batch_and_order(keys, random):
    whole = draw(keys).uniform("x", 4)
    order = list(range(len(keys)))
    random.shuffle(order)
    assert torch.equal(draw([keys[i] for i in order]).uniform("x", 4), whole[order])
    assert torch.equal(draw(keys[:1]).uniform("x", 4), whole[:1])
    # More columns leave the first ones alone.
    assert torch.equal(draw(keys).uniform("x", 9)[:, :4], whole)


@pytest.mark.parametrize(
    "other",
    [draw(range(1000), seed=2), draw(range(1000), epoch=3), draw(range(1000, 2000)), draw(range(1000)).scope("a")],
)
def test_everything_matters(other):
    first = draw(range(1000)).uniform("x", 1)[:, 0].numpy()
    second = other.uniform("x", 1)[:, 0].numpy()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert (first != second).mean() > 0.99


def test_names_and_columns_are_independent():
    keys = range(20_000)
    numbers = torch.cat([draw(keys).uniform("x", 3), draw(keys).uniform("y", 2)], dim=1).numpy()
    correlation = np.corrcoef(numbers.T) - np.eye(5)
    assert np.abs(correlation).max() < 0.03


@pytest.mark.parametrize("keys", [range(50_000), range(0, 50_000_000, 1000)])
def test_uniform(keys):
    numbers = draw(keys).uniform("x", 1)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers[:, 0].numpy(), "uniform").pvalue > 1e-3


def test_normal():
    numbers = draw(range(200)).normal("x", 501)
    assert numbers.shape == (200, 501)
    assert torch.isfinite(numbers).all()
    assert stats.kstest(numbers.numpy().ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:, 0], numbers[:, 251])[0, 1]) < 0.25


def test_take():
    part = draw(range(10)).take(torch.tensor([3, 1]))
    assert torch.equal(part.uniform("x", 2), draw(range(10)).uniform("x", 2)[[3, 1]])


def test_parts_draw_what_the_whole_draws():
    whole = draw(range(10)).scope("step")
    for rows, part in zip((slice(0, 4), slice(7, 10)), whole.parts([slice(0, 4), slice(7, 10)]), strict=True):
        assert torch.equal(part.scope("x").uniform("x", 2), whole.scope("x").uniform("x", 2)[rows])
        assert torch.equal(part.normal("x", 3), whole.normal("x", 3)[rows])
        # Other samples than the part's are not mistaken for them.
        assert torch.equal(part.take(torch.tensor([2])).uniform("x", 2), whole.uniform("x", 2)[rows][[2]])
        assert torch.equal(part.copies(2).uniform("x", 2), replace(whole, keys=part.keys).copies(2).uniform("x", 2))


def test_copies_draw_their_own_whatever_their_number():
    three, five = draw(range(1000)).copies(3), draw(range(1000)).copies(5)
    numbers = three.uniform("x", 1).view(3, 1000)
    assert torch.equal(numbers, five.uniform("x", 1).view(5, 1000)[:3])
    together = torch.cat([numbers, draw(range(1000)).uniform("x", 1).view(1, 1000)])
    assert np.abs(np.corrcoef(together.numpy()) - np.eye(4)).max() < 0.13
    assert torch.equal(draw([5]).copies(3).uniform("x", 1), three.take(torch.tensor([5, 1005, 2005])).uniform("x", 1))

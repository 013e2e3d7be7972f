"""Does the multi-label loss treat uncertain and unstated labels as its policy says?"""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from cxrvl.errors import ConfigError
from cxrvl.losses.multilabel import MultilabelLoss

NAN = math.nan


def bce(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ignore", (bce(1.5, 1) + bce(-0.5, 0)) / 2),
        ("zeros", (bce(1.5, 1) + bce(-0.5, 0) + bce(2.0, 0)) / 3),
        ("ones", (bce(1.5, 1) + bce(-0.5, 0) + bce(2.0, 1)) / 3),
        ("smoothed", (bce(1.5, 1) + bce(-0.5, 0) + bce(2.0, 0.7)) / 3),
    ],
)
def test_hand_worked_policies(policy, expected):
    logits = torch.tensor([[1.5, -0.5], [2.0, 9.0]])
    targets = torch.tensor([[1.0, 0.0], [-1.0, NAN]])
    assert MultilabelLoss(policy)(logits, targets).item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_is_the_expectation_of_the_range_and_the_range_can_be_set():
    logits, targets = torch.tensor([[0.3]]), torch.tensor([[-1.0]])
    loss = MultilabelLoss("smoothed", smoothed_range=(0.2, 0.4))(logits, targets)
    assert loss.item() == pytest.approx(bce(0.3, 0.3), rel=1e-6)


def test_fully_known_targets_give_torch_s_loss_and_its_weights():
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 4), torch.randint(0, 2, (6, 4)).float()
    torch.testing.assert_close(
        MultilabelLoss()(logits, targets), functional.binary_cross_entropy_with_logits(logits, targets)
    )
    weights, positive = [1.0, 2.0, 0.0, 0.5], [3.0, 1.0, 1.0, 2.0]
    torch.testing.assert_close(
        MultilabelLoss(label_weights=weights, pos_weight=positive)(logits, targets),
        functional.binary_cross_entropy_with_logits(
            logits, targets, weight=torch.tensor(weights), pos_weight=torch.tensor(positive)
        ),
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-40, 40), st.sampled_from([1.0, 0.0, -1.0, NAN]), st.floats(-40, 40)),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["ignore", "zeros", "ones", "smoothed"]),
)
def test_entries_left_out_have_no_influence(entries, policy):
    logits = torch.tensor([[entry[0] for entry in entries]], requires_grad=True)
    targets = torch.tensor([[entry[1] for entry in entries]])
    left_out = targets.isnan() | ((targets == -1) & (policy == "ignore"))
    loss = MultilabelLoss(policy)(logits, targets)
    loss.backward()
    assert loss.isfinite()
    assert (logits.grad[left_out] == 0).all()
    others = torch.where(left_out, torch.tensor([[entry[2] for entry in entries]]), logits)
    torch.testing.assert_close(MultilabelLoss(policy)(others, targets), loss)


def test_nothing_known_is_zero_with_zero_gradients():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = MultilabelLoss()(logits, torch.full((3, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_half_precision_logits_are_judged_in_float32():
    loss = MultilabelLoss()(torch.tensor([[20.0, 1.0]], dtype=torch.bfloat16), torch.tensor([[1.0, 0.0]]))
    assert loss.dtype == torch.float32


def test_settings_that_cannot_be_right_are_named():
    with pytest.raises(ConfigError, match="smoothed"):
        MultilabelLoss("maybe")
    with pytest.raises(ConfigError, match="smoothed_range"):
        MultilabelLoss(smoothed_range=(0.9, 0.5))
    with pytest.raises(ConfigError, match="label_weights"):
        MultilabelLoss(label_weights=[1.0, -1.0])
    with pytest.raises(ConfigError, match="pos_weight has 3 values for 2 labels"):
        MultilabelLoss(pos_weight=[1.0, 1.0, 1.0])(torch.zeros(1, 2), torch.zeros(1, 2))

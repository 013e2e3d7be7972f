"""Do gradients, rates and the teacher's momentum move as the settings say?"""

import math
from functools import partial

import pytest
import torch
from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.tasks.gradients import clip_each
from cxrvl.tasks.released import ReleasedSchedule
from cxrvl.tasks.teacher_schedules import released_cosine
from cxrvl.tasks.teaching import CosineMomentum, Retention, Teaching, checksum


def test_every_gradient_is_clipped_by_itself():
    parameters = [nn.Parameter(torch.zeros(5, 3)), nn.Parameter(torch.zeros(7)), nn.Parameter(torch.zeros(2))]
    generator = torch.Generator().manual_seed(0)
    gradients = [
        torch.randn(p.shape, generator=generator) * scale for p, scale in zip(parameters, (10, 0.1), strict=False)
    ]
    for parameter, gradient in zip(parameters, gradients, strict=False):
        parameter.grad = gradient.clone()
    clip_each(parameters, 3.0)
    for parameter, gradient in zip(parameters, gradients, strict=False):
        expected = gradient * min(1.0, 3.0 / (float(gradient.norm()) + 1e-6))
        torch.testing.assert_close(parameter.grad, expected)
    assert float(parameters[0].grad.norm()) == pytest.approx(3)
    assert parameters[2].grad is None
    clip_each([parameters[2]], 3.0)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", ["constant", "cosine"])
def test_the_stated_share_of_the_first_weights_is_left(share, shape):
    teacher, student = nn.Linear(2, 2, bias=False).requires_grad_(False), nn.Linear(2, 2, bias=False)
    nn.init.constant_(teacher.weight, 1.0)
    nn.init.zeros_(student.weight)
    teaching = Teaching(Retention(share, shape), buffers=True)
    for _ in range(40):
        teaching.follow(teacher, student, 40)
    torch.testing.assert_close(teacher.weight, torch.full((2, 2), share))
    assert teaching.kept == pytest.approx(share)
    again = Teaching(Retention(share, shape), buffers=True)
    again.load_state_dict(teaching.state_dict())
    assert (again.step, again.kept, again.last) == (40, teaching.kept, teaching.last)


def test_the_released_momentum_ends_at_its_end():
    momentum = CosineMomentum(0.9, 1.0)
    values = [momentum(step, 10) for step in range(10)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.9)
    assert 0.99 < values[-1] < 1
    with pytest.raises(ConfigError, match="expected shares of 0 to 1"):
        CosineMomentum(1.1)


def test_the_released_schedule_sets_rates_and_leaves_what_is_not_decayed():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = partial(torch.optim.AdamW, lr=1.0, weight_decay=0.01)(groups)
    schedule = ReleasedSchedule(1e-3, 1e-6, warmup_epochs=1, weight_decay=[0.01, 0.05])
    for step in range(20):
        schedule.apply(optimizer, step, steps=5, total=20)
        one, other = optimizer.param_groups
        assert one["lr"] == other["lr"] == released_cosine(step, 20, 1e-3, 1e-6, 5)
        assert (one["weight_decay"], other["weight_decay"]) == (released_cosine(step, 20, 0.01, 0.05), 0.0)
    schedule.apply(optimizer, 0, steps=5, total=20)
    assert optimizer.param_groups[0]["lr"] == 0


def test_a_checksum_tells_other_weights():
    layer = nn.Linear(3, 3)
    before = checksum(layer)
    assert math.isfinite(before)
    assert checksum(layer) == before
    with torch.no_grad():
        layer.weight[0, 0] += 1e-3
    assert checksum(layer) != before

"""Do the teacher's schedules say what they promise?"""

import math

import numpy as np
import pytest

from cxrvl.config.resolvers import released_learning_rate
from cxrvl.errors import ConfigError
from cxrvl.tasks.teacher_schedules import (
    momentum_for_retention,
    ramp,
    released_cosine,
    retained,
    teacher_temperature,
)


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (10, 1), (10, 4), (7, 7), (1, 0)])
def test_the_released_cosine_is_dino_s_array(steps, warmup):
    expected = np.concatenate(
        [
            np.linspace(0, 3.0, warmup),
            0.5 + 1.25 * (1 + np.cos(np.pi * np.arange(steps - warmup) / max(1, steps - warmup))),
        ]
    )
    found = [released_cosine(step, steps, 3.0, 0.5, warmup) for step in range(steps)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_the_peak_rate_follows_the_batch_and_the_ramp_ends_at_two():
    assert released_learning_rate(5e-5, 16) == 5e-5
    assert released_learning_rate(5e-5, 32) == 1e-4
    assert [ramp(epoch, 5) for epoch in range(5)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])


def test_the_teacher_temperature_warms_up_once():
    found = [teacher_temperature(epoch, 0.02, 0.07, 3) for epoch in range(5)]
    assert found == pytest.approx([0.02, 0.045, 0.07, 0.07, 0.07])
    assert teacher_temperature(0, 0.02, 0.07, 0) == 0.07
    assert teacher_temperature(0, 0.02, 0.07, 1) == 0.02


@pytest.mark.parametrize("shape", ["constant", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 47, 2000])
@pytest.mark.parametrize("retention", [0.08, 0.5, 0.97, 1.0])
def test_a_momentum_keeps_the_share_it_was_chosen_for(shape, steps, retention):
    momentum = momentum_for_retention(retention, steps, shape)
    momenta = [momentum if shape == "constant" else released_cosine(i, steps, momentum, 1.0) for i in range(steps)]
    assert math.prod(momenta) == pytest.approx(retention, abs=1e-9)
    assert retained(momentum, steps, shape) == pytest.approx(retention, abs=1e-9)


def test_the_release_keeps_what_the_paper_file_computed():
    for per_epoch, share in ((100, 0.88), (675, 0.43), (2025, 0.08)):
        assert retained(0.9995, 5 * per_epoch, "cosine") == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(
    "call",
    [
        lambda: momentum_for_retention(0.0, 10),
        lambda: momentum_for_retention(1.1, 10),
        lambda: momentum_for_retention(0.5, 0),
        lambda: momentum_for_retention(0.5, 10, "linear"),
        lambda: released_cosine(10, 10, 1.0, 0.0),
        lambda: released_cosine(0, 10, 1.0, 0.0, 11),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ConfigError, match="expected"):
        call()

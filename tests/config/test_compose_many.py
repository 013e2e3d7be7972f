"""Composing fast gives what Hydra gives, and refuses what Hydra refuses, in the same words."""

import pytest

from cxrvl.config import compose_many
from cxrvl.config.compose import compose_config, hydra_session
from cxrvl.config.compose_many import compose_fast
from cxrvl.errors import ConfigError

BASE = ("experiment=phantom/acm", "data.batch_size=8")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        BASE,
        (*BASE, "seed=3", "name='a b'"),
        (*BASE, "model/context=se", "data.source.images=40"),
        (*BASE, "evaluation=none", "task.monitor=val/loss"),
        ("trainer.max_epochs=2", "experiment=phantom/acm"),
        (*BASE, "init_from={file: x.pt}"),
        (
            *BASE,
            'init_from=[{run:"experiment=a seed=0",parts:{x:y}},{file: x.pt, parts: [z]}]',
            "init_from.0.parts.x=w",
        ),
        (*BASE, "+evaluation.more={bootstrap: 3}", "evaluation.more.bootstrap=4"),
        (*BASE, "~evaluation.marks"),
        (*BASE, "hydra.launcher.slots=3"),
        (*BASE, "++data.batch_size=4", "++paths.runs='/some where'", "++data.source.more={a: [1, b]}"),
    ],
)
def test_the_same_config(overrides):
    with hydra_session():
        expected = compose_config(overrides)
        for _ in range(2):
            assert compose_fast(overrides) == expected


@pytest.mark.parametrize(
    "override", ["seed=x", "sed=1", "trainer.max_epoch=1", "experiment=nope", "model=3", "seed=1,2", "seed=", "a b"]
)
def test_the_same_refusal(override):
    with hydra_session():
        with pytest.raises(ConfigError) as expected:
            compose_config([*BASE, override])
        with pytest.raises(ConfigError) as found:
            compose_fast([*BASE, override])
    assert str(found.value) == str(expected.value)


def test_one_job_does_not_change_the_next(monkeypatch):
    compose_many.forget()
    calls = []
    monkeypatch.setattr(compose_many, "compose_config", lambda o: calls.append(o) or compose_config(o))
    with hydra_session():
        first = compose_fast([*BASE, "seed=1"])
        first.trainer.max_epochs = 99
        assert compose_fast([*BASE, "seed=2"]).trainer.max_epochs != 99
        assert compose_fast([*BASE, "seed=2"]).seed == 2
    assert len(calls) == 1, "files were chosen once"

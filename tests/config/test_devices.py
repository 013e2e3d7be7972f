"""How many processes a config asks for, and whether they can share its batch."""

import pytest

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved
from cxrvl.config.devices import check_cut, device_count
from cxrvl.errors import ConfigError


@pytest.mark.parametrize(
    ("devices", "count"),
    [(1, 1), (4, 4), ("2", 2), ([0, 3], 2), ("0,3", 2), ("0,", 1), ("auto", 0), (-1, 0), ("-1", 0)],
)
def test_device_count(devices, count):
    assert device_count(devices) == count


@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_trainers_compose_and_check(trainer):
    config = resolved(compose_config(["experiment=phantom/acm", f"trainer={trainer}"]))
    assert check(config) > 0
    assert config["trainer"]["strategy"] == trainer
    assert config["trainer"]["devices"] == "auto"
    assert (
        config["trainer"]["max_epochs"] == resolved(compose_config(["experiment=phantom/acm"]))["trainer"]["max_epochs"]
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=3"], r"data.batch_size=32 is the global batch; .* into 3 device\(s\) x 1 accumulated part"),
        (["trainer.devices=2", "trainer.num_nodes=3"], r"into 6 device\(s\)"),
        (["trainer.devices=4", "trainer.accumulate_grad_batches=16"], r"4 device\(s\) x 16 accumulated"),
        (["trainer.devices=0"], r"expected at least one each"),
        (["trainer.strategy=ddp_spawn"], r"trainer.strategy is 'ddp_spawn'; expected one of auto, ddp,"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_starts(overrides, message):
    with pytest.raises(ConfigError, match=message):
        check(compose_config(["experiment=phantom/acm", *overrides]))


def test_even_cuts_pass():
    check_cut(32, 4, 2)
    with pytest.raises(ConfigError):
        check_cut(0, 1, 1)

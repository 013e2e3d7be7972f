import pytest

from cxrvl.config.compose import compose_config, config_dir, expand_sweep, resolved
from cxrvl.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seeed=1", ["seeed", "'seed'"]),
        ("data.batchsize=3", ["data.batchsize", "'batch_size'"]),
        ("data.source.image=3", ["data.source", "'images'"]),
        ("trainer.max_epoch=3", ["trainer", "'max_epochs'"]),
        ("datta=phantom", ["datta", "'data'"]),
        ("model=resnet10_narow", ["group 'model'", "'resnet10_narrow'"]),
        ("experiment=phantom/amc", ["group 'experiment'", "'phantom/acm'"]),
        ("seed=abc", ["seed=abc", "Integer"]),
        ("trainer.max_epochs=1.5", ["max_epochs=1.5", "Integer"]),
        ("seed=[1", ["cannot read the override 'seed=[1'"]),
    ],
)
def test_a_wrong_override_gives_one_line_that_names_the_nearest_word(override, words):
    with pytest.raises(ConfigError) as error:
        compose_config([override])
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_missing_mandatory_value_is_named():
    with pytest.raises(ConfigError, match=r"missing mandatory value: name; give it as name=\.\.\."):
        resolved(compose_config(["name=???"]))


def test_an_interpolation_to_nowhere_is_named():
    with pytest.raises(ConfigError, match="Interpolation key 'nowhere' not found"):
        resolved(compose_config(["name=${nowhere}"]))


def test_a_sweep_expands_in_order():
    assert expand_sweep(["seed=0,1", "name=a,b"]) == [
        ["seed=0", "name=a"],
        ["seed=0", "name=b"],
        ["seed=1", "name=a"],
        ["seed=1", "name=b"],
    ]


@pytest.mark.parametrize("override", ["seed=range(0,0)", "experiment=glob(nothing*)"])
def test_an_empty_sweep_is_an_error(override):
    with pytest.raises(ConfigError, match="empty sweep"):
        expand_sweep([override])


def test_the_experiments_are_found_through_the_link():
    rows = {p.parent.name for p in (config_dir() / "experiment").glob("*/*.yaml")}
    assert {"phantom", "acm_chestxray14"} <= rows

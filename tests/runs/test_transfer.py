"""What is the run's and what is the other data's, when a run is evaluated elsewhere?"""

import pytest

from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import ConfigError
from cxrvl.runs.transfer import _other

DUAL = ("data=phantom_pairs", "task=dual_tower", "model=dual_tiny")


def of(*words):
    return resolved(compose_config([*DUAL, *words]))


def test_the_instruction_of_the_run_goes_along():
    found = _other(of("data.text.default.instruction=Read this."), ["phantom_pairs", "data.source.seed=5"])
    assert found["source"]["seed"] == 5
    assert {reading["instruction"] for reading in found["text"].values()} == {"Read this."}


def test_of_several_instructions_none_is_chosen():
    config = of("data.text.default.instruction=Read this.", "+data.text.other={instruction: Summarise.}")
    with pytest.raises(ConfigError, match=r"trained with 2 different instructions .* choose runs with one"):
        _other(config, ["phantom_pairs"])

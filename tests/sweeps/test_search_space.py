"""Hydra's sweep syntax as a search space: what users of its Optuna sweeper write goes on working."""

import pytest

from cxrvl.errors import ConfigError
from cxrvl.sweeps.samplers import SamplerChoice
from cxrvl.sweeps.search_space import read_space


def axis(text):
    (found,) = read_space([text]).axes
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=interval(1,10)", "FloatDistribution(high=10.0, log=False, low=1.0, step=None)"),
        ("a=int(interval(1,10))", "IntDistribution(high=10, log=False, low=1, step=1)"),
        ("a=tag(log,interval(1e-5,0.1))", "FloatDistribution(high=0.1, log=True, low=1e-05, step=None)"),
        ("a=range(1,4)", "IntDistribution(high=3, log=False, low=1, step=1)"),
        ("a=range(8,40,8)", "IntDistribution(high=32, log=False, low=8, step=8)"),
        ("a=range(4,0,-2)", "IntDistribution(high=4, log=False, low=2, step=2)"),
        ("a=range(0,1,0.25)", "FloatDistribution(high=0.75, log=False, low=0.0, step=0.25)"),
        ("a=tag(log,range(1,20))", "IntDistribution(high=19, log=True, low=1, step=1)"),
        ("a=shuffle(range(3))", "IntDistribution(high=2, log=False, low=0, step=1)"),
        ("a=x,y", "CategoricalDistribution(choices=('x', 'y'))"),
        (
            "+a.b=choice('x y',[1,2],{c:1},true)",
            r"CategoricalDistribution(choices=('x\\ y', '[1,2]', '{c:1}', 'True'))",
        ),
    ],
)
def test_each_sweep_syntax_is_a_distribution(text, expected):
    assert str(axis(text).distribution()) == expected


def test_a_float_range_proposes_what_a_sweep_runs_over():
    found = axis("a=range(0,1,0.1)")
    assert found.override(0.7) == "a=0.7000000000000001", "Hydra's own sixth step; 0.7 would be another run"
    assert [found.override(point) for point in found.points()] == [f"a={text}" for text in found.values]


def test_a_plain_value_takes_an_axis_out_and_the_last_sweep_counts():
    space = read_space(["a=1,2", "b=1,2", "c=5", "a=3", "b=range(3)"])
    assert [a.key for a in space.axes] == ["b"]
    assert space.representative() == ["c=5", "a=3", "b=0"]
    assert space.size() == 3
    assert read_space(["a=1,2", "b=interval(0,1)"]).size() is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["a=1"], "no parameter to search"),
        (["a=range(1,1)"], "holds no value"),
        (["a=interval(2,1)"], "2.0 is not below 1.0"),
        (["a=tag(log,interval(0,1))"], "a logarithm needs values above 0"),
        (["a=tag(lgo,interval(1,2))"], "unknown tag 'lgo'; did you mean 'log'?"),
        (["a=tag(log,choice(1,2))"], "only a range or an interval"),
        (["a=tag(log,range(1,9,2))"], "steps of 1"),
        (["a=interval(1"], "cannot read the override"),
    ],
)
def test_what_cannot_be_searched_is_refused(overrides, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        read_space(overrides)


@pytest.mark.parametrize(
    ("choice", "text", "said"),
    [
        (SamplerChoice("tep"), "a=1,2", "no sampler 'tep'; did you mean 'tpe'"),
        (SamplerChoice("grid"), "a=interval(0,1)", "a is an interval"),
        (SamplerChoice("tpe", options={"n_start": 3}), "a=1,2", "cannot build the sampler"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused(choice, text, said):
    with pytest.raises(ConfigError, match=said):
        choice.build(read_space([text]), 0)


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii"])
def test_trials_of_one_seed_are_the_same_and_do_not_repeat(name):
    space = read_space(["a=interval(0,1)"])
    first = [SamplerChoice(name).choose(space, n, [], ["maximize"]).params["a"] for n in range(5)]
    assert first == [SamplerChoice(name).choose(space, n, [], ["maximize"]).params["a"] for n in range(5)]
    assert len(set(first)) == 5, "a sampler built again must not begin at its first number again"
    assert first[0] != SamplerChoice(name, seed=1).choose(space, 0, [], ["maximize"]).params["a"]

"""Which runs does a line ask for? Those that `cxrvl train experiment=... seed=...` would compute, with the same ids."""

from dataclasses import replace

import pytest

from cxrvl.config.compose import compose_config, hydra_session, resolved
from cxrvl.errors import ConfigError
from cxrvl.tables.reproduce import table_spec, wanted

CASES = [("phantom", "acm"), ("phantom", "distl"), ("phantom", "clip"), ("phantom", "text")]


@pytest.mark.parametrize(("table", "name"), CASES)
def test_a_row_is_the_same_run_whichever_seed_was_composed_first(table, name):
    spec = table_spec(table)
    line = spec.line(name)
    last = line.rows[-1]
    runs = wanted(spec, replace(line, rows=(last,), comparisons=(), baseline=last.name))
    assert [run.seed for run in runs] == list(line.seeds)
    assert len({run.run.run_id for run in runs}) == len(runs)
    with hydra_session():
        for run in runs:
            assert run.config == resolved(compose_config(run.overrides))


def test_a_seed_among_the_overrides_is_refused():
    spec = table_spec("phantom")
    with pytest.raises(ConfigError, match="--seeds"):
        wanted(spec, spec.line("acm"), ["seed=1"])

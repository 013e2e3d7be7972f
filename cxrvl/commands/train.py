"""`cxrvl train`: one run, or with -m a sweep."""

import os
from collections.abc import Sequence

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, expand_sweep, hydra_session, resolved
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

MULTIRUN_FLAGS = {"-m", "--multirun"}
VALUE_FLAGS = {"--cfg", "-c", "--info", "-i", "--package", "-p"}
HYDRA_FLAGS = MULTIRUN_FLAGS | VALUE_FLAGS | {"--hydra-help", "--resolve"}


def train(arguments: Sequence[str]) -> None:
    """Check the config(s) first, then train.

    Raises:
        CxrvlError: any config, data or run error, before anything is trained where it can be known before.
    """
    flags, overrides = split_flags(arguments)
    if not flags:
        _one(overrides)
    elif MULTIRUN_FLAGS & set(flags):
        if VALUE_FLAGS & set(flags):
            raise ConfigError("Hydra shows one config, not those of a sweep; leave -m out, or choose one job")
        _sweep(overrides)
    else:
        from cxrvl.sweeps.multirun import show

        compose_config(overrides)  # Hydra would report a misspelt override in its own many lines
        show(arguments)


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell Hydra's flags, with their values, from the overrides.

    Raises:
        ConfigError: a flag Hydra does not have.
    """
    flags: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        if flags and flags[-1] in VALUE_FLAGS:
            flags.append(argument)
        elif not argument.startswith("-"):
            overrides.append(argument)
        elif argument.split("=")[0] in HYDRA_FLAGS:
            flags.append(argument)
        else:
            raise ConfigError(f"unknown option {argument}{did_you_mean(argument, HYDRA_FLAGS)}")
    return flags, overrides


def _one(overrides: list[str]) -> None:
    from cxrvl.runs.execute import execute

    if without_retry(overrides)[0] != overrides:
        raise ConfigError("retry_failed=... is for sweeps: add -m, or leave it out; a run that failed is run again")
    if any(o.startswith("table=") for o in overrides):
        raise ConfigError("table=... is a sweep over a table's rows and seeds: add -m, or name one row: experiment=...")

    config = resolved(compose_config(overrides))
    check(config)
    print(execute(config, overrides).sentence(), flush=True)


def _sweep(overrides: Sequence[str]) -> None:
    from cxrvl.runs.records import SWEEP
    from cxrvl.sweeps.jobs import describe, forget
    from cxrvl.sweeps.multirun import chosen, multirun

    forget()
    overrides, retry_failed = without_retry(overrides)
    tables = [o.removeprefix("table=").partition("/")[0] for o in overrides if o.startswith("table=")]
    if tables:
        os.environ[SWEEP] = os.environ.get(SWEEP) or tables[-1]
    overrides = with_table(overrides)
    swept_elsewhere = any("hydra.sweeper.params" in o for o in overrides)
    if chosen(overrides, "hydra/sweeper") in ("grid", "basic") and not swept_elsewhere:
        # What is asked of each job is known, so that no word of Hydra's own comes before a misspelt key is named.
        with hydra_session():
            describe(expand_sweep([o for o in overrides if not o.lstrip("+").startswith("hydra")]))
    if retry_failed and chosen(overrides, "hydra/launcher") != "basic":
        overrides.append("hydra.launcher.retry_failed=true")
    multirun(overrides, retry_failed)


def without_retry(overrides: Sequence[str]) -> tuple[list[str], bool]:
    """Take the bare word `retry_failed=true` out of the overrides; returns what it says, false without it.

    Raises:
        ConfigError: another value than true or false.
    """
    said = [o.partition("=")[2].lower() for o in overrides if o.startswith("retry_failed=")]
    if said and said[-1] not in ("true", "false"):
        raise ConfigError(f"retry_failed is {said[-1]!r}; expected true or false")
    return [o for o in overrides if not o.startswith("retry_failed=")], bool(said) and said[-1] == "true"


def with_table(overrides: Sequence[str]) -> list[str]:
    """Replace `table=<table>` by a sweep over the rows of its lines, and over its seeds unless they are given.

    Raises:
        ConfigError: no such table, or lines whose seeds differ (name one: table=<table>/<line>).
    """
    named = [o for o in overrides if o.startswith("table=")]
    if not named:
        return list(overrides)
    from cxrvl.tables.reproduce import table_spec

    name, _, line_name = named[-1].removeprefix("table=").partition("/")
    spec = table_spec(name)
    lines = [spec.line(line_name)] if line_name else list(spec.lines.values())
    rows = list(dict.fromkeys(f"{name}/{row.name}" for line in lines for row in line.rows))
    rest = [o for o in overrides if o not in named]
    sweep = [f"experiment={','.join(rows)}"]
    if not any(o.startswith("seed=") for o in rest):
        seeds = {line.seeds for line in lines}
        if len(seeds) > 1:
            raise ConfigError(f"the lines of {name} have different seeds; name one: table={name}/{lines[0].name}")
        sweep.append(f"seed={','.join(map(str, seeds.pop()))}")
    return [*sweep, *rest]

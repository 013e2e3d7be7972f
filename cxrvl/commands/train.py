"""`cxrvl train`: one run, or with -m a sweep."""

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
        _sweep(with_table(overrides), flags)
    else:
        from cxrvl.runs.multirun import run_hydra

        compose_config(overrides)  # Hydra would report a misspelt override in its own many lines
        run_hydra(arguments)


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

    if any(o.startswith("table=") for o in overrides):
        raise ConfigError("table=... is a sweep over a table's rows and seeds: add -m, or name one row: experiment=...")

    config = resolved(compose_config(overrides))
    check(config)
    print(execute(config, overrides).sentence(), flush=True)


def _sweep(overrides: list[str], flags: list[str]) -> None:
    from cxrvl.runs.multirun import run_hydra

    with hydra_session():
        jobs = expand_sweep([o for o in overrides if not o.startswith("hydra")])
        for job in jobs:
            check(resolved(compose_config(job)))
    print(f"{len(jobs)} job(s), all checked", flush=True)
    run_hydra([*flags, *overrides])


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

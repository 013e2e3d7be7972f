"""`cxrvl train`: one run, or with -m a sweep."""

from collections.abc import Sequence

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, expand_sweep, hydra_session, resolved
from cxrvl.errors import ConfigError

MULTIRUN_FLAGS = {"-m", "--multirun"}
HYDRA_FLAGS = MULTIRUN_FLAGS | {"--cfg", "-c", "--info", "-i", "--hydra-help", "--resolve", "--package", "-p"}


def train(arguments: Sequence[str]) -> None:
    """Check the config(s) first, then train.

    Raises:
        CxrvlError: any config, data or run error, before anything is trained where it can be known before.
    """
    flags = [a for a in arguments if a.startswith("-") and a.split("=")[0] in HYDRA_FLAGS]
    overrides = [a for a in arguments if a not in flags]
    if not flags:
        _one(overrides)
    elif MULTIRUN_FLAGS & set(flags):
        _sweep(with_table(overrides), flags)
    else:
        from cxrvl.runs.multirun import run_hydra

        run_hydra(arguments)


def _one(overrides: list[str]) -> None:
    from cxrvl.runs.execute import execute

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

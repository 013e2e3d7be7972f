"""What of a table is missing, and how does it get from its configs to its numbers?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.config.compose import config_dir, hydra_session, resolved
from cxrvl.config.compose_many import compose_fast
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.runs.evaluations import Evaluation, planned
from cxrvl.runs.execute import is_done
from cxrvl.runs.identity import identify
from cxrvl.runs.store import Run, RunStore
from cxrvl.sweeps import launching
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.jobs import Job, job_of, with_links
from cxrvl.sweeps.local import LocalEngine
from cxrvl.tables.collect import Key, RunFiles
from cxrvl.tables.spec import LineSpec, TableSpec


@dataclass(frozen=True)
class Wanted:
    """One run a table asks for."""

    row: str
    seed: int
    overrides: tuple[str, ...]
    config: dict[str, Any]
    run: Run
    evaluations: tuple[Evaluation, ...]

    @property
    def done(self) -> bool:
        """Whether it is trained and evaluated."""
        return is_done(self.run, self.config)

    def job(self) -> Job:
        """The process that computes it."""
        return job_of(f"{self.row} seed {self.seed}", self.overrides, self.config, self.run.run_id)


def table_spec(name: str) -> TableSpec:
    """Load a table by name.

    Raises:
        ConfigError: no such folder, naming the tables there are.
    """
    tables = sorted(p.parent.name for p in (config_dir() / "experiment").glob("*/table.toml"))
    if name not in tables:
        raise ConfigError(f"there is no table '{name}' under experiments/{did_you_mean(name, tables)}")
    return TableSpec.load(config_dir() / "experiment" / name)


def wanted(spec: TableSpec, line: LineSpec, overrides: Sequence[str] = ()) -> list[Wanted]:
    """Return every run of a line, seed by seed, so that a table stopped half-way holds whole seeds.

    Raises:
        ConfigError: a row's config does not compose, or an override sets the seed.
        DataError: its study table cannot be built.
    """
    found = []
    with hydra_session():
        for seed in line.seeds:
            for row in line.rows:
                chosen = (f"experiment={spec.name}/{row.name}", f"seed={seed}", *overrides)
                config = resolved(compose_fast(chosen))
                if config["seed"] != seed:
                    raise ConfigError("a table's seeds are not set by an override; name them with --seeds")
                run = RunStore(Path(config["paths"]["runs"])).run(identify(config).run_id)
                found.append(Wanted(row.name, seed, chosen, config, run, tuple(planned(run, config))))
    return found


def compute(spec: TableSpec, runs: Sequence[Wanted], slots: int | None = None) -> list[Ended]:
    """Compute the runs that are missing, side by side; those that failed before are tried again.

    Args:
        slots: jobs side by side where no GPU is used; None = cores / threads of a job.

    Returns:
        The jobs that failed.
    """
    jobs = with_links([item.job() for item in runs], sweep=spec.name)
    return launching.compute(jobs, LocalEngine(slots=slots), retry_failed=True)


def files_of(line: LineSpec, runs: Sequence[Wanted]) -> dict[Key, RunFiles]:
    """Return where the predictions of the finished runs lie; what is not finished is absent."""
    found: dict[Key, RunFiles] = {}
    for item in runs:
        paths = {e.name: e.path for e in item.evaluations if e.name in line.evaluations and e.done()}
        if paths and (item.run.folder / "environment.json").is_file():
            found[item.row, item.seed] = RunFiles(item.run.folder, paths)
    return found

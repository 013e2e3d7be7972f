"""How does a search run: ask for a batch of trials, compute their runs, tell their results, until there are enough?"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrvl.errors import ConfigError, CxrvlError, RunError
from cxrvl.runs.identity import SCIENCE_VERSION, digest, identify
from cxrvl.runs.records import SWEEP
from cxrvl.sweeps.jobs import Job, describe, request
from cxrvl.sweeps.launching import take_failures
from cxrvl.sweeps.samplers import SamplerChoice
from cxrvl.sweeps.search_report import SearchReport
from cxrvl.sweeps.search_space import SearchSpace
from cxrvl.sweeps.study import BATCH, RETRY_OF, SearchStudy, open_study
from cxrvl.sweeps.trial_values import check_metrics, trial_values

DIRECTIONS = ("maximize", "minimize")

Launch = Callable[[Sequence[Sequence[str]], int], Any]
"""Computes a batch's jobs: their override lists, and the number of the first one."""


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        metrics: dotted names such as findings.mean.auroc; more than one makes a front of best trials.
        directions: maximize or minimize, one per metric.
        trials: how many trials there are to be in all; a finished search asked for more goes on.
        batch: trials computed side by side; the next batch is chosen when all of them have ended.
        storage: the study's file; None = by name in <paths.runs>/.searches.
        name: None = made of what is searched.
        max_failure_rate: the search stops where more than this share of a batch failed.
        retry_failed: trials that failed before are computed again.
    """

    space: SearchSpace
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    trials: int = 20
    batch: int = 2
    sampler: SamplerChoice = field(default_factory=SamplerChoice)
    storage: str | None = None
    name: str | None = None
    max_failure_rate: float = 1.0
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ConfigError("the search has no hydra.sweeper.metric; name one, such as findings.mean.auroc")
        wrong = [d for d in self.directions if d not in DIRECTIONS]
        if wrong or len(self.directions) != len(self.metrics):
            raise ConfigError(
                f"hydra.sweeper.direction is {', '.join(map(str, self.directions)) or 'not given'}; expected "
                f"maximize or minimize, for each of {', '.join(self.metrics)}"
            )
        if self.trials < 1 or self.batch < 1:
            raise ConfigError(f"n_trials={self.trials} with n_jobs={self.batch} is no search; expected at least 1 each")
        if self.storage and "://" in self.storage:
            raise ConfigError(f"hydra.sweeper.storage is {self.storage}; a search is kept in one file: give its path")

    def definition(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return what the search is, so that a file is never continued with another one.

        Where to compute, how many trials and how many at once are no part of it.
        """
        identity = identify(config)
        common = {**identity.science, "evaluation": config["evaluation"], "use": config["checkpoint"]["use"]}
        return {
            "space": {axis.key: axis.record() for axis in self.space.axes},
            "metric": dict(zip(self.metrics, self.directions, strict=True)),
            "sampler": {"name": self.sampler.name, "seed": self.sampler.seed, "options": dict(self.sampler.options)},
            "common": common, "fingerprint": identity.fingerprint, "science_version": SCIENCE_VERSION,
        }  # fmt: skip


@dataclass
class _Trial:
    """A trial whose run is to be computed; it has no job where its config cannot be."""

    number: int
    overrides: list[str]
    job: Job | None = None

    @property
    def run_id(self) -> str:
        return self.job.run_id if self.job else ""


def run_search(search: Search, launch: Launch) -> None:
    """Run a search to its number of trials, from wherever its file says it is.

    Raises:
        ConfigError: a space, metric or sampler that cannot be; or the file holds another search.
        RunError: trials failed (the others were computed all the same), or another process runs this search.
        KeyboardInterrupt, SystemExit: it was stopped; the same command continues it.
    """
    (*_, example) = describe([search.space.representative()])
    search.sampler.build(search.space, 0)
    for name in check_metrics(search.metrics, example.config):
        print(
            f"warning: '{name}' is scored on the test split, so the search picks its best by test results; "
            f"hydra.sweeper.metric={example.config['task'].get('monitor', 'val/loss')} picks it by validation",
            flush=True,
        )
    definition = search.definition(example.config)
    name = search.name or f"{example.config['name'].replace('/', '-')}-{digest(definition)[:8]}"
    path = Path(search.storage or Path(example.config["paths"]["runs"]) / ".searches" / f"{name}.journal")
    os.environ.setdefault(SWEEP, f"search-{name}")
    size = search.space.size()
    wanted = min(search.trials, size) if search.sampler.name == "grid" and size else search.trials
    with open_study(path, definition, search.directions) as study:
        print(f"search {name}: {_asked(study)} of {wanted} trial(s) are there, in {path}", flush=True)
        report = SearchReport(study, search.space, search.metrics)
        if search.retry_failed:
            _retry(study)
        attempts: Counter[int] = Counter()
        while trials := _next_batch(search, study, wanted):
            results = _compute(search, trials, launch, attempts)
            for number, result in sorted(results.items()):
                study.tell(number, result, next(t.run_id for t in trials if t.number == number))
            report.batch(sorted(results))
            report.write()
            _refuse_too_many_failures(search, results)
        report.end()
        report.write()
        failed = report.failed()
    if failed:
        raise RunError(f"{len(failed)} of {wanted} trial(s) failed; the lines above, and {report.path}, say why")


def _asked(study: SearchStudy) -> int:
    """Return how many trials count: a retried one counts once."""
    return sum(RETRY_OF not in trial.user_attrs for trial in study.trials())


def _next_batch(search: Search, study: SearchStudy, wanted: int) -> list[_Trial]:
    """Return the trials to compute next: those a stopped search left running, made up to a whole batch."""
    from optuna.trial import TrialState

    trials = study.trials()
    running = [t.number for t in trials if t.state == TrialState.RUNNING]
    batch = max((t.user_attrs[BATCH] for t in trials), default=-1) + (0 if running else 1)
    begun = [t for t in trials if t.user_attrs[BATCH] == batch]
    # Killed while it told results, the search has chosen this batch whole; while choosing, it goes on choosing.
    room = search.batch - len(begun) if all(t.state == TrialState.RUNNING for t in begun) else 0
    for _ in range(min(room, wanted - _asked(study))):
        trials = study.trials()
        running.append(
            study.add(search.sampler.choose(search.space, len(trials), trials, search.directions), **{BATCH: batch})
        )
    trials = study.trials()
    return [_Trial(n, search.space.overrides(trials[n].params)) for n in running]


def _compute(
    search: Search, trials: Sequence[_Trial], launch: Launch, attempts: Counter[int]
) -> dict[int, list[float] | str]:
    """Compute a batch; returns the values, or why there are none, of each trial that ended."""
    results: dict[int, list[float] | str] = {}
    asked: dict[str, list[str]] = {}
    for trial in trials:
        try:
            (*_, trial.job) = describe([trial.overrides])
        except CxrvlError as error:
            results[trial.number] = str(error)
        else:
            # Two trials of one batch may be the same run: a choice has only so many values.
            asked.setdefault(request(trial.job), trial.overrides)
    problem: CxrvlError | None = None
    try:
        if asked:
            launch(list(asked.values()), trials[0].number)
    except CxrvlError as error:
        # Some launchers return failed jobs, others raise; what became of each trial is in its run's folder.
        problem = error
    take_failures()  # a job that was killed is tried again; what failed for good is told at the end
    for trial in trials:
        result = _result(trial.job, search.metrics) if trial.job else None
        attempts[trial.number] += 1
        if result is None and trial.job and attempts[trial.number] > 1:
            result = "its process ended twice before the run was done"
        if result is not None:
            results[trial.number] = result
        elif trial.job and problem:
            raise problem
    return results


def _result(job: Job, metrics: Sequence[str]) -> list[float] | str | None:
    """Return a job's values, why it has none, or None where it has not ended: its process was killed."""
    status = job.run.status()
    if status["state"] == "failed":
        return (str(status.get("error", "")).splitlines() or ["failed"])[0]
    return trial_values(job, metrics) if job.done() else None


def _refuse_too_many_failures(search: Search, results: Mapping[int, list[float] | str]) -> None:
    reasons = [result for result in results.values() if isinstance(result, str)]
    if len(reasons) > search.max_failure_rate * len(results):
        raise RunError(
            f"{len(reasons)} of {len(results)} trials of a batch failed, and hydra.sweeper.max_failure_rate is "
            f"{search.max_failure_rate}; the last: {reasons[-1]}"
        )


def _retry(study: SearchStudy) -> None:
    """Begin failed trials again, under new numbers: a finished trial stays as it is."""
    from optuna.trial import TrialState, create_trial

    trials = study.trials()
    retried = {t.user_attrs.get(RETRY_OF) for t in trials}
    batch = max((t.user_attrs[BATCH] for t in trials), default=-1) + 1
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.number not in retried:
            again = create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
            study.add(again, **{BATCH: batch, RETRY_OF: trial.number})

"""How is a run computed: exactly once, from where it stopped, or not at all when it is done?"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.errors import ConfigError, RunError
from cxrvl.runs import stopping
from cxrvl.runs.evaluations import check_trained, planned
from cxrvl.runs.identity import Identity, data_table, identify
from cxrvl.runs.making import make_upstream
from cxrvl.runs.origin import origin
from cxrvl.runs.place import Place, place
from cxrvl.runs.ranks import run_ranks
from cxrvl.runs.records import recorded
from cxrvl.runs.start import starts_whole
from cxrvl.runs.store import Run, RunStore
from cxrvl.runs.upstream import has_started, missing_links

log = logging.getLogger("cxrvl")


@dataclass(frozen=True)
class Outcome:
    """What became of a request for a run."""

    run: Run
    trained: bool
    evaluated: tuple[str, ...]

    def sentence(self) -> str:
        """Return one line for the terminal."""
        if self.trained:
            return f"run {self.run.run_id} is done: {self.run.folder}"
        if self.evaluated:
            return f"run {self.run.run_id} was trained before; evaluated now: {', '.join(self.evaluated)}"
        return f"run {self.run.run_id} was done before; nothing to compute: {self.run.folder}"


def is_done(run: Run, config: dict[str, Any]) -> bool:
    """Return whether a run is trained, everything its config asks of it is evaluated, and its status record whole."""
    status = run.status()
    return status["state"] == "done" and not status.get("rebuilt") and all(e.done() for e in planned(run, config))


def execute(config: dict[str, Any], overrides: Sequence[str] = ()) -> Outcome:
    """Compute what is missing of the run a resolved, checked config describes.

    Raises:
        CxrvlError: bad data or config, or another process computes this run and checkpoint.when_busy is leave.
        KeyboardInterrupt: the user stopped it; the same request continues it.
    """
    if config["checkpoint"]["when_busy"] not in ("wait", "leave"):
        raise ConfigError(f"checkpoint.when_busy is {config['checkpoint']['when_busy']!r}; expected wait or leave")
    if config["checkpoint"]["use"] not in ("best", "final"):
        raise ConfigError(f"checkpoint.use is {config['checkpoint']['use']!r}; expected best or final")
    identity = identify(config)
    run = RunStore(Path(config["paths"]["runs"])).run(identity.run_id)
    here = place()
    if here.started_by == "parent":
        from cxrvl.runs.rank import as_rank

        raise SystemExit(as_rank(run, config, here, lambda: _compute(run, config)))
    if not here.outside and is_done(run, config):  # a finished run needs no claim: it may lie on a read-only disk
        return Outcome(run, False, ())
    make_upstream(config)
    if here.outside:
        return _execute_outside(run, config, identity, overrides, here)
    with run.claim(wait=config["checkpoint"]["when_busy"] == "wait"):
        if is_done(run, config):
            return Outcome(run, False, ())
        return _execute_claimed(run, config, identity, overrides)


def _execute_claimed(run: Run, config: dict[str, Any], identity: Identity, overrides: Sequence[str]) -> Outcome:
    """Compute a run that this process holds: by itself, or in the processes that its config asks for."""
    from cxrvl.runs.trainer import local_processes

    started = not (run.checkpoints / "final.ckpt").is_file()
    count = 1 if place().outside else local_processes(config)
    with recorded(run, config, identity, overrides):
        if count == 1:
            evaluated = _compute(run, config)
        else:
            evaluated = [e.name for e in planned(run, config) if not e.done()]
            run_ranks(run, overrides, count, config["threads"])
    return Outcome(run, started, tuple(evaluated))


def _execute_outside(
    run: Run, config: dict[str, Any], identity: Identity, overrides: Sequence[str], here: Place
) -> Outcome:
    """Compute a run as one of the ranks that srun or torchrun started: rank 0 claims and records it."""
    from cxrvl.runs.meeting import Meeting, check_world

    check_world(here, config)
    _refuse_chain(run, config)
    meeting = Meeting(here)
    if here.rank > 0:
        if meeting.told(run.run_id):
            _compute(run, config)
        raise SystemExit(0)
    with run.claim(wait=config["checkpoint"]["when_busy"] == "wait"):
        done = is_done(run, config)
        meeting.tell(run.run_id, compute=not done)
        return Outcome(run, False, ()) if done else _execute_claimed(run, config, identity, overrides)


def _refuse_chain(run: Run, config: dict[str, Any]) -> None:
    missing = [] if has_started(run) else missing_links(config)
    if missing:
        raise RunError(
            f"run {run.run_id} starts from run {missing[0].run_id}, which is not there, and ranks that were started from "
            f"outside make one run; make that one first: cxrvl train {' '.join(missing[0].overrides)}"
        )


def evaluate_run(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Compute the predictions a trained run lacks under `config`, and return all its metrics.

    Raises:
        RunError: the config's model or training is not the run's.
        WeightsError: the checkpoint is not one of the config's model.
    """
    from cxrvl.runs.evaluate import predict_missing, update_metrics
    from cxrvl.runs.gallery import write_galleries
    from cxrvl.runs.trainer import alone, build_data, build_task, build_trainer, quieten, set_up_process

    config = alone(config)
    check_trained(run, config)
    evaluations = planned(run, config)
    with run.claim():
        if not all(e.done() for e in evaluations):
            quieten()
            set_up_process(config)
            data, task = build_data(config), build_task(config, pretrained=False)
            data.use_table(data_table(config))
            predict_missing(
                task, data, build_trainer(config, run.folder, []), evaluations, use_weights(run, config, task)
            )
            write_galleries(run.folder, config, evaluations, task, data, (), 0)
        return update_metrics(run, evaluations)


def _compute(run: Run, config: dict[str, Any]) -> list[str]:
    """Train if that is not finished, then predict what is missing. Torch is first needed here."""
    from cxrvl.runs.bases import record_bases
    from cxrvl.runs.checkpoints import FINAL, CheckpointKeeper, resume_point
    from cxrvl.runs.evaluate import check_outputs, check_splits, predict_missing, update_metrics
    from cxrvl.runs.gallery import write_galleries
    from cxrvl.runs.progress_callback import ProgressWriter
    from cxrvl.runs.starting import start_from
    from cxrvl.runs.stop_training import StopAtResumePoint
    from cxrvl.runs.trainer import (
        build_data,
        build_task,
        build_trainer,
        quieten,
        refuse_split,
        set_up_process,
        unsharded,
    )
    from cxrvl.tracking.finish import begin, tracked
    from cxrvl.tracking.pages import refresh_page
    from cxrvl.tracking.taking import picture_callbacks
    from cxrvl.tracking.throughput import Throughput

    stopping.stop_if_requested()  # an import may have swallowed the exception
    quieten()
    set_up_process(config)
    data = build_data(config)
    data.use_table(data_table(config))
    trained = (run.checkpoints / FINAL).is_file()
    written_by = origin(run.run_id, config)
    resume = None if trained else resume_point(run.checkpoints, written_by)
    evaluations = planned(run, config)
    check_splits(data_table(config), evaluations)
    task = build_task(config, pretrained=not (trained or resume or starts_whole(config)))
    check_outputs(task, evaluations)
    if not (trained or resume):
        start_from(task, config)
    keeper = CheckpointKeeper(
        run.checkpoints, task.monitor, task.monitor_mode,
        every_seconds=config["checkpoint"]["every_seconds"], every_steps=config["checkpoint"]["every_steps"],
        written_by=written_by,
    )  # fmt: skip
    progress = ProgressWriter(run.folder, task.monitor, task.monitor_mode)
    callbacks = [
        Throughput(), *picture_callbacks(config, run.folder), progress, keeper, StopAtResumePoint(keeper),
    ]  # fmt: skip
    trainer = build_trainer(config, run.folder, callbacks, task.heads_take_turns(data))
    refuse_split(trainer, task)
    if trainer.is_global_zero:
        record_bases(run, task)
    with tracked(trainer.loggers, run.folder):
        if not trained:
            begin(trainer.loggers, _resume_step(resume))
            log.info("training run %s%s", run.run_id, f", continued from {resume.name}" if resume else "")
            if config["trainer"]["max_steps"] == 0:
                keeper.save_untrained(task)
            else:
                trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
            if trainer.interrupted:
                raise KeyboardInterrupt
            stopping.stop_if_requested()
        task = unsharded(task, trainer, config)
        computed = predict_missing(task, data, trainer, evaluations, use_weights(run, config, task))
        if trainer.is_global_zero:
            update_metrics(run, evaluations)
            if computed:
                write_galleries(run.folder, config, evaluations, task, data, trainer.loggers, trainer.global_step)
            refresh_page(run.folder)
    return computed


def use_weights(run: Run, config: dict[str, Any], task: Any) -> str:
    """Load the weights to be judged and say which they are; a run that never validated has no best ones.

    Raises:
        WeightsError: they are gone, damaged, or of another model.
    """
    from cxrvl.runs.checkpoints import BEST, load_into, used_weights

    path = used_weights(run, config["checkpoint"]["use"])
    load_into(task, path, run)
    return "best" if path.name == BEST else "final"


def _resume_step(resume: Path | None) -> int:
    """Return the optimiser step at which training begins or goes on."""
    import torch

    return torch.load(resume, map_location="cpu", weights_only=True)["global_step"] if resume else 0

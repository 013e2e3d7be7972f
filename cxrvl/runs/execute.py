"""How is a run computed: exactly once, from where it stopped, or not at all when it is done?"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.errors import ConfigError
from cxrvl.files import write_json, write_yaml
from cxrvl.runs.evaluations import check_trained, planned
from cxrvl.runs.identity import SCIENCE_VERSION, Identity, identify, study_table
from cxrvl.runs.store import Run, RunStore
from cxrvl.runs.upstream import weights_file

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
    """Return whether a run is trained and everything its config asks of it is evaluated."""
    return run.state() == "done" and all(e.done() for e in planned(run, config))


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
    if not is_first_rank():
        # Lightning started this process as a further rank of a run that rank 0 has claimed and records.
        _compute(run, config)
        return Outcome(run, True, ())
    with run.claim(wait=config["checkpoint"]["when_busy"] == "wait"):
        if is_done(run, config):
            return Outcome(run, False, ())
        started = not (run.checkpoints / "final.ckpt").is_file()
        with _recorded(run, config, identity, overrides):
            evaluated = _compute(run, config)
        return Outcome(run, started, tuple(evaluated))


def evaluate_run(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """Compute the predictions a trained run lacks under `config`, and return all its metrics.

    Raises:
        RunError: the config's model or training is not the run's.
        WeightsError: the checkpoint is not one of the config's model.
    """
    from cxrvl.runs.evaluate import predict_missing, update_metrics
    from cxrvl.runs.trainer import build_data, build_task, build_trainer, quieten, set_up_process

    check_trained(run, config)
    evaluations = planned(run, config)
    with run.claim():
        if not all(e.done() for e in evaluations):
            quieten()
            set_up_process(config)
            data, task = build_data(config), build_task(config, pretrained=False)
            data.use_table(study_table(config))
            predict_missing(
                task, data, build_trainer(config, run.folder, []), evaluations, use_weights(run, config, task)
            )
        return update_metrics(run, evaluations)


def _compute(run: Run, config: dict[str, Any]) -> list[str]:
    """Train if that is not finished, then predict what is missing. Torch is first needed here."""
    from cxrvl.runs.checkpoints import FINAL, CheckpointKeeper, load_into, resume_point
    from cxrvl.runs.evaluate import check_splits, predict_missing, update_metrics
    from cxrvl.runs.trainer import (
        build_data,
        build_task,
        build_trainer,
        quieten,
        refuse_split_batchnorm,
        set_up_process,
    )

    quieten()
    set_up_process(config)
    data = build_data(config)
    data.use_table(study_table(config))
    trained = (run.checkpoints / FINAL).is_file()
    resume = None if trained else resume_point(run.checkpoints)
    evaluations = planned(run, config)
    check_splits(study_table(config), evaluations)
    task = build_task(config, pretrained=not (trained or resume))
    if config["init_from"] is not None and not (trained or resume):
        load_into(task, weights_file(config["init_from"], config["paths"]["runs"]))
    keeper = CheckpointKeeper(
        run.checkpoints, task.monitor, task.monitor_mode,
        every_seconds=config["checkpoint"]["every_seconds"], every_steps=config["checkpoint"]["every_steps"],
    )  # fmt: skip
    trainer = build_trainer(config, run.folder, [keeper])
    refuse_split_batchnorm(trainer, task)
    if not trained:
        _rewind_history(trainer, resume)
        log.info("training run %s%s", run.run_id, f", continued from {resume.name}" if resume else "")
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
    computed = predict_missing(task, data, trainer, evaluations, use_weights(run, config, task))
    if trainer.is_global_zero:
        update_metrics(run, evaluations)
    return computed


def use_weights(run: Run, config: dict[str, Any], task: Any) -> str:
    """Load the weights to be judged and say which they are; a run that never validated has no best ones."""
    from cxrvl.runs.checkpoints import BEST, FINAL, load_into

    use_best = config["checkpoint"]["use"] == "best" and (run.checkpoints / BEST).is_file()
    load_into(task, run.checkpoints / (BEST if use_best else FINAL))
    return "best" if use_best else "final"


def _rewind_history(trainer: Any, resume: Path | None) -> None:
    import torch

    step = torch.load(resume, map_location="cpu", weights_only=True)["global_step"] if resume else 0
    trainer.loggers[0].rewind(step)


@contextmanager
def _recorded(run: Run, config: dict[str, Any], identity: Identity, overrides: Sequence[str]) -> Iterator[None]:
    """Write what the run is and how it goes: config, environment, log, status."""
    from cxrvl.runs.environment import environment

    write_yaml(run.folder / "config.yaml", config)
    write_yaml(run.folder / "overrides.yaml", list(overrides))
    write_json(run.folder / "environment.json", environment())
    details = {
        "name": config["name"], "seed": config["seed"], "science_version": SCIENCE_VERSION,
        "split_name": study_table(config).split_name, "split_sha256": study_table(config).split_sha256,
        "fingerprint": identity.fingerprint,
    }  # fmt: skip
    handler = logging.FileHandler(run.folder / "train.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("cxrvl", "pytorch_lightning", "py.warnings")]
    for logger in loggers:
        logger.addHandler(handler)
    log.setLevel(logging.INFO)
    shown = logging.StreamHandler()  # what the data say is for the user's eyes too; a failure is told by the command
    shown.setLevel(logging.WARNING)
    logging.getLogger("cxrvl.data").addHandler(shown)
    start, before = time.time(), float(run.status().get("seconds", 0.0))

    def taken() -> float:
        return round(before + time.time() - start, 1)

    try:
        with run.heartbeat(**details, started=start, seconds=before):
            yield
        run.set_status("done", **details, seconds=taken())
    except (KeyboardInterrupt, SystemExit):
        run.set_status("queued", **details, interrupted=True, seconds=taken())
        log.warning("run %s was stopped; the same command continues it", run.run_id)
        raise KeyboardInterrupt from None
    except BaseException as error:
        run.set_status("failed", **details, error=f"{type(error).__name__}: {error}", seconds=taken())
        log.exception("run %s failed", run.run_id)
        raise
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        logging.getLogger("cxrvl.data").removeHandler(shown)
        handler.close()


def is_first_rank() -> bool:
    """Return whether this process leads its job; Lightning starts the other ranks with the same command."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))

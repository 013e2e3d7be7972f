"""`cxrvl runs sync`: how do runs get to Weights & Biases that were computed without it?"""

import argparse
import sys

from cxrvl.commands.runs import run_store
from cxrvl.errors import ConfigError, RunError
from cxrvl.runs.index import listed
from cxrvl.runs.store import Run
from cxrvl.runs.where import conditions


def runs_sync(options: argparse.Namespace) -> None:
    """Send each run to W&B once; a run that cannot be sent does not keep the others.

    Raises:
        ConfigError: W&B is switched off.
        RunError: no such run, or some could not be sent.
    """
    from cxrvl.tracking.sync import sync
    from cxrvl.tracking.wandb_run import chosen_mode

    mode = options.mode or chosen_mode("auto")
    if mode == "disabled":
        raise ConfigError("W&B is switched off by WANDB_MODE=disabled; unset it, or name a mode: --mode offline")
    problems, written = [], []
    runs = chosen(options)
    for run in runs:
        try:
            done = sync(run.folder, run.state(), mode, options.project, options.entity)
        except RunError as error:
            problems.append(str(error))
            print(f"{run.run_id}  not sent", flush=True)
            continue
        said = "unchanged" if done.sent is None else f"{done.sent} steps {'sent' if mode == 'online' else 'written'}"
        print(f"{run.run_id}  {said}  {done.where}", flush=True)
        written.append(done.where)
    if mode == "offline" and written:
        print(f"upload from a machine that is logged in: wandb sync {' '.join(written)}")
        print("or, where these runs and an API key are: cxrvl runs sync --mode online", flush=True)
    if problems:
        for problem in problems[:-1]:
            print(f"error: {problem}", file=sys.stderr)
        raise RunError(problems[-1])


def chosen(options: argparse.Namespace) -> list[Run]:
    """Return the runs a command line names: by id, by condition, or all that have begun and are not being computed.

    Raises:
        RunError: none, or an id that names no run.
        ConfigError: a condition that cannot be read.
    """
    store = run_store(options.runs)
    if options.run and options.where:
        raise ConfigError("name runs by id or by --where, not both")
    if options.run:
        return [store.find(prefix) for prefix in options.run]
    found = [one.run for one in listed(store, conditions(options.where)) if one.run.state() != "running"]
    if not found:
        raise RunError(f"no such runs in {store.root}; `cxrvl runs ls` lists what is there")
    return found

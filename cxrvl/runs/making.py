"""How do the runs that a run starts from come about, in order and each once?"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrvl.config.check import check
from cxrvl.errors import RunError
from cxrvl.runs import processes, stopping
from cxrvl.runs.identity import identify
from cxrvl.runs.place import place
from cxrvl.runs.records import SWEEP
from cxrvl.runs.separation import refuse_known_patients
from cxrvl.runs.start import read_starts
from cxrvl.runs.store import RunStore
from cxrvl.runs.upstream import Link, direct_links, has_started, in_order, missing_links

RECORD_SECONDS = 60.0


def check_chain(config: dict[str, Any]) -> int:
    """Verify every config a resolved config starts from, and that the parts it selects are there on both sides.

    Returns:
        Number of targets checked, those of the config itself not counted.

    Raises:
        ConfigError: as `cxrvl.config.check.check`, naming the run the error is in.
        DataError: one of them was trained on patients that a later one is judged on.
    """
    from cxrvl.runs.starting import check_parts

    if not read_starts(config):
        return 0
    nearest = direct_links(config)
    found = in_order(nearest)
    count = sum(check(link.config) for link in found)
    for downstream, before in [*((link.config, link.before) for link in found), (config, nearest)]:
        check_parts(downstream, [link.config if link is not None else None for link in before])
        refuse_known_patients(downstream, in_order(before))
    return count


def make_upstream(config: dict[str, Any]) -> None:
    """Make the missing runs that a resolved config starts from, the deepest first, each in a fresh process.

    A run that another process makes meanwhile is waited for. A run with weights of its own needs nothing.

    Raises:
        CxrvlError: the chain cannot be.
        RunError: a run of the chain failed; those after it are not started.
        Stopped: this process was asked to stop.
    """
    if not read_starts(config):
        return
    run_id = identify(config).run_id
    if has_started(RunStore(Path(config["paths"]["runs"])).run(run_id)):
        return
    check_chain(config)
    missing = missing_links(config)
    if missing and place().started_by == "torchrun":
        # Its store knows one group of processes; a second one would meet what the first left there.
        raise _failed(missing[0], "torchrun starts one run; make it beforehand")
    if missing:
        refuse_early([*(link.config for link in missing), config])
    for link in missing:
        if link.run.state() == "failed" and SWEEP in os.environ:
            raise _failed(link, "it failed before, and a sweep does not try again by itself")
        # The config itself, unless another link of its chain needs this one before.
        needs = ((other.run_id, other.config["name"]) for other in missing if _starts_from(other, link))
        next_id, next_name = next(needs, (run_id, config["name"]))
        print(
            f"run {next_id} ({next_name}) starts from run {link.run_id} ({link.config['name']}), which is made first",
            flush=True,
        )
        _make(link)


def refuse_early(configs: Sequence[dict[str, Any]]) -> None:
    """Build the light ones of the tasks of a chain, with their data modules, and drop them: nothing is read or trained.

    Raises:
        ConfigError: settings that the task or its data refuse, before hours go into the runs in front of it.
    """
    from cxrvl.config.targets import locate
    from cxrvl.runs.trainer import build_data, build_task

    for config in configs:
        if getattr(locate(config["task"]["_target_"], "task"), "LIGHT", False):
            build_data(config)
            build_task(config, pretrained=False)


def _starts_from(link: Link, other: Link) -> bool:
    return any(one is not None and one.run_id == other.run_id for one in link.before)


def _make(link: Link) -> None:
    code = processes.train(link.overrides)
    stopping.stop_if_requested()
    if code in (stopping.STOPPED, stopping.INTERRUPTED):
        raise SystemExit(code)
    if code == 0 and _is_done(link):
        return
    if code < 0:
        raise _failed(link, f"its process was ended by {signal.Signals(-code).name}")
    raise _failed(link, str(link.run.status().get("error") or f"its process ended with exit code {code}, see above"))


def _is_done(link: Link) -> bool:
    """Wait for the record: of several processes that compute one run together, the first writes it, last of all."""
    deadline = time.monotonic() + RECORD_SECONDS
    while link.run.state() != "done":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _failed(link: Link, reason: str) -> RunError:
    again = " ".join(link.overrides)
    return RunError(
        f"run {link.run_id}, which was to be made first, has no weights: {reason}; alone: cxrvl train {again}"
    )

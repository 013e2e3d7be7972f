"""What does a run write about itself while it is computed? Config, environment, log, status."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cxrvl.errors import RankError
from cxrvl.files import write_json, write_yaml
from cxrvl.runs import stopping
from cxrvl.runs.identity import SCIENCE_VERSION, Identity, data_table
from cxrvl.runs.store import Run
from cxrvl.runs.upstream import record_start

log = logging.getLogger("cxrvl")

SWEEP = "CXRVL_SWEEP"
"""Environment variable that names the sweep a process belongs to; W&B groups by it."""


@contextmanager
def recorded(run: Run, config: dict[str, Any], identity: Identity, overrides: Sequence[str]) -> Iterator[None]:
    """Write what the run is, and how it goes until the block ends."""
    from cxrvl.runs.environment import environment

    write_yaml(run.folder / "config.yaml", config)
    write_yaml(run.folder / "overrides.yaml", list(overrides))
    write_json(run.folder / "environment.json", environment(
        {"split_sha256": data_table(config).split_sha256, "fingerprint": identity.fingerprint}
    ))  # fmt: skip
    record_start(run, config)
    details = {
        "name": config["name"], "seed": config["seed"], "science_version": SCIENCE_VERSION,
        "split_name": data_table(config).split_name, "split_sha256": data_table(config).split_sha256,
        "fingerprint": identity.fingerprint, "sweep": os.environ.get(SWEEP),
    }  # fmt: skip
    start, clock, before = time.time(), time.monotonic(), float(run.status().get("seconds", 0.0))

    def taken() -> float:
        return round(before + time.monotonic() - clock, 1)  # the wall clock may be set meanwhile

    with logged(run):
        try:
            with run.heartbeat(**details, started=start, seconds=before):
                yield
            run.set_status("done", **details, seconds=taken())
        except BaseException as error:
            asked = isinstance(error, KeyboardInterrupt | SystemExit)
            if asked or stopping.is_consequence(error):
                run.set_status("queued", **details, interrupted=True, seconds=taken())
                log.warning("run %s was stopped; the same command continues it", run.run_id, exc_info=not asked)
                raise KeyboardInterrupt from None
            if isinstance(error, RankError):
                said = {"interrupted": True} if error.killed else {"error": error.summary}
                run.set_status("queued" if error.killed else "failed", **details, **said, seconds=taken())
                log.error("run %s: %s", run.run_id, error)
                raise
            run.set_status("failed", **details, error=f"{type(error).__name__}: {error}", seconds=taken())
            log.exception("run %s failed", run.run_id)
            raise


class TrainLog(logging.FileHandler):
    """A run's train.log; where it cannot be written, one line says so, and what comes of it is told by the command."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        """Say once what keeps the file from being written, in place of a traceback for every record."""
        error = sys.exception()
        if isinstance(error, OSError):
            self._tell(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        """Close the file; what could not be written before cannot be written now."""
        try:
            super().close()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self.told:
            self.told = True
            print(f"warning: {self.baseFilename} cannot be written ({error.strerror})", file=sys.stderr, flush=True)


@contextmanager
def logged(run: Run) -> Iterator[None]:
    """Append what is logged in this process to the run's train.log; what the user should see goes to stderr, too."""
    handler = TrainLog(run.folder / "train.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("cxrvl", "pytorch_lightning", "py.warnings")]
    for logger in loggers:
        logger.addHandler(handler)
    log.setLevel(logging.INFO)
    shown = logging.StreamHandler()  # what the data say is for the user's eyes too; a failure is told by the command
    shown.setLevel(logging.WARNING)
    for name in ("cxrvl.data", "cxrvl.runs", "cxrvl.tracking"):
        logging.getLogger(name).addHandler(shown)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        for name in ("cxrvl.data", "cxrvl.runs", "cxrvl.tracking"):
            logging.getLogger(name).removeHandler(shown)
        handler.close()

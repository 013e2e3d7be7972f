"""What does one rank do besides computing? It ends with its parent, and tells it what went wrong."""

import faulthandler
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from cxrvl.errors import CxrvlError, RunError
from cxrvl.files import no_room, write_json
from cxrvl.runs import stopping
from cxrvl.runs.place import RANK_OF, Place
from cxrvl.runs.records import logged
from cxrvl.runs.store import Run


def as_rank(run: Run, config: dict[str, Any], here: Place, compute: Callable[[], object]) -> int:
    """Compute a run as one of the processes that its parent started; returns the exit code.

    What goes wrong is left in the run's folder, for the parent to show once.
    """
    _end_with_parent()
    with (run.folder / "ranks" / f"{here.rank}.fault").open("w") as fault:
        faulthandler.enable(fault)
        try:
            _check(run, config)
            with logged(run) if here.rank == 0 else nullcontext():
                compute()
                leave_group()
        except BaseException as error:  # noqa: BLE001 - nothing is swallowed: the parent raises it
            if isinstance(error, KeyboardInterrupt) or stopping.is_consequence(error):
                return stopping.exit_code()
            _tell(run, here.rank, error)
            return 1
        finally:
            faulthandler.enable(sys.stderr)
    return 0


def leave_group() -> None:
    """Leave the process group, so that no rank ends while another still reads from it.

    A graph of gradients that gathered over devices keeps the group, and its threads abort a process that ends with them:
    graphs that only a cycle keeps are let go first.
    """
    import torch

    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _check(run: Run, config: dict[str, Any]) -> None:
    """Refuse to compute anything but what the parent has claimed.

    Raises:
        RunError: another run, or other settings than those the parent has recorded.
    """
    asked = os.environ[RANK_OF]
    if run.run_id != asked or run.config() != config:
        raise RunError(
            f"this rank composed run {run.run_id}, its parent records run {asked} with other settings: a config file "
            "has changed in between; start again"
        )


def _end_with_parent() -> None:
    """Die when standard input ends, which the parent holds open: also when it was killed with SIGKILL."""

    def follow() -> None:
        while os.read(0, 1):
            pass
        for worker in multiprocessing.active_children():
            worker.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True, name="parent").start()


def _tell(run: Run, rank: int, error: BaseException) -> None:
    full = no_room(error)
    os_error = full or (error if isinstance(error, OSError) and error.errno is not None else None)
    about = {
        "kind": type(error).__name__ if isinstance(error, CxrvlError) else "", "message": str(error),
        "summary": traceback.format_exception_only(error)[-1].strip(),
        "traceback": "".join(traceback.format_exception(error)), "time": time.time(),
        "os": None if os_error is None else [os_error.errno, os_error.strerror, os_error.filename],
    }  # fmt: skip
    try:
        write_json(run.folder / "ranks" / f"{rank}.error", about)
    except OSError:  # the full disk itself may be what went wrong: then the parent reads this from the rank's output
        logging.getLogger("cxrvl").exception("rank %s failed", rank)
        sys.stderr.write(str(about["traceback"]))

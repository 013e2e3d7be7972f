"""How does one `cxrvl train` run inside another, in a fresh process that stops and dies with it?"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from cxrvl.runs import stopping

_PR_SET_PDEATHSIG = 1


def train_argv(overrides: Sequence[str]) -> list[str]:
    """Return the command line of one training in a fresh process."""
    return [sys.executable, "-m", "cxrvl.cli", "train", *overrides]


def train(overrides: Sequence[str]) -> int:
    """Run one training to its end and return its exit code; what stops this process stops that one as well.

    It shares this process's terminal, environment and process group, and is asked to stop when this process is killed.
    """
    child = subprocess.Popen(train_argv(overrides), preexec_fn=_dies_with_parent())
    with stopping.forwarded(lambda number: child.send_signal(number)):
        if stopping.requested():  # before the signals were forwarded
            child.terminate()
        return child.wait()


def _dies_with_parent() -> Callable[[], None] | None:
    """Return what a new process calls so that it gets SIGTERM when its parent is gone; Linux alone knows how."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent = ctypes.CDLL(None), os.getpid()

    def call() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)

    return call

"""How do tests run `cxrvl` in a process of its own without waiting five seconds for its imports, again and again?

A server imports what `cxrvl train` imports, once per test process, and does nothing else; every command is forked from
it. So each has its own memory, signals, folder, environment and exit code, as a command typed in a terminal has. What
it lacks is the time before its imports: tests of that start an interpreter (`Cli.interpreter`), and so does the run
that many others have to equal to the last bit (`finished`).
"""

import atexit
import multiprocessing
import multiprocessing.context
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

from cxrvl import cli
from cxrvl.runs.rank import leave_group

POSSIBLE = sys.platform == "linux"
"""The system libraries of macOS do not survive a fork; there every command is a fresh interpreter."""
PRELOADED = [
    "cxrvl.commands.train", "cxrvl.commands.evaluate", "cxrvl.config.check", "cxrvl.runs.execute", "cxrvl.runs.trainer",
    "cxrvl.runs.evaluate", "cxrvl.runs.ranks", "cxrvl.data.modules", "cxrvl.data.transforms", "cxrvl.models.resnet",
    "cxrvl.tasks.classification", "cxrvl.evaluation.classification", "cxrvl.evaluation.localization", "cxrvl.tracking.pages",
    "cxrvl.sweeps.multirun",
]  # fmt: skip


def be_cxrvl(
    arguments: tuple[str, ...], folder: Path, environment: dict[str, str], ends: tuple[Connection, Connection],
    new_session: bool,
) -> None:  # fmt: skip
    """Do in this process what `python -m cxrvl.cli <arguments>` does in its own; `ends` take what it prints."""
    for number, end in zip((1, 2), ends, strict=True):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    if new_session:
        os.setsid()
    os.chdir(folder)
    sys.path.insert(0, str(folder))  # as -m does
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(cli.__file__), *arguments]
    multiprocessing.set_start_method(None, force=True)  # the system's own, not the one this process came from
    forget_coverage_of_the_server()
    try:
        cli.main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out


def forget_coverage_of_the_server() -> None:
    """Under `make coverage` this process counts its lines by itself; the server's count, forked with it, ends in an error."""
    if (coverage := sys.modules.get("coverage")) is not None:
        for inherited in coverage.Coverage._instances[:-1]:
            atexit.unregister(inherited._atexit)


def preload() -> multiprocessing.context.ForkServerContext:
    """Have the server, which starts with the first process asked of it, import what the commands need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def leave() -> None:
    """End a process that computed with others, without what the interpreter does last.

    A thread of gloo may still hold tensors then, ask the interpreter for its lock and abort the process.
    """
    leave_group()
    os._exit(0)


class Forked:
    """A running command, with what the tests use of `subprocess.Popen`."""

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str], start_new_session: bool = False
    ) -> None:
        context = preload()
        (out, out_end), (err, err_end) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        given = (arguments, folder, environment, (out_end, err_end), start_new_session)
        self.args = arguments
        self._process = context.Process(target=be_cxrvl, args=given)
        self._process.start()
        for end in (out_end, err_end):
            end.close()
        self.pid = self._process.pid
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in (out, err))

    @property
    def returncode(self) -> int | None:
        """Exit code, minus the signal's number after a kill; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read to the ends of both pipes, then wait for the process."""
        read: dict[str, str] = {}

        def drain(name: str) -> None:
            read[name] = getattr(self, name).read()

        threads = [Thread(target=drain, args=(name,), daemon=True) for name in ("stdout", "stderr")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
        if any(thread.is_alive() for thread in threads):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.stdout.close()
        self.stderr.close()
        self.wait(timeout)
        return read["stdout"], read["stderr"]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

"""What does a cluster run for a job? `cxrvl train <overrides>` in a process of its own, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

from cxrvl.sweeps.ended import STOPPED, ended_code
from cxrvl.sweeps.jobs import Job
from cxrvl.sweeps.pool import GUARD, STOP, TAIL_BYTES, TAIL_LINES

POLL_SECONDS = 0.1
KEPT_PREFIX = "CXRVL_"
DECIDED = (0, 1, 2)
"""Exit codes that say all there is to say: done, crashed, to be mended by the user. Any other one can be continued."""


@dataclass(frozen=True)
class TrainTask:
    """Runs one job under a guard, which ends it when this process ends, however that dies.

    Attributes:
        job: without its config; an engine writes the task down, and the overrides are all there is to it.
        folder: working folder of the sweep; relative paths in the overrides start there.
        settings: CXRVL_* variables of the process that asked for the sweep.
        grace_seconds: what the job has to write its resume point when this process is asked to stop.
        alone: the job starts its own ranks; False where the engine starts this task once per rank.
        log: file to append the job's output to; None = where this process writes.
    """

    job: Job
    folder: str
    settings: dict[str, str]
    grace_seconds: float = 30.0
    alone: bool = True
    log: str | None = None

    def __call__(self) -> int:
        """Return the job's exit code; a negative one is the signal that ended it.

        Raises:
            KeyboardInterrupt: this process was interrupted; the job had its grace and is gone.
        """
        code, asked = self.run()
        if signal.SIGINT in asked:
            raise KeyboardInterrupt
        return code

    def run(self) -> tuple[int, list[int]]:
        """Run the job to its end; returns its exit code and the signals that came meanwhile."""
        with _noted() as asked, self._output() as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(self.grace_seconds), *self.job.argv()],
                stdin=subprocess.PIPE, stdout=output, stderr=None if output is None else subprocess.STDOUT,
                env=self.environment(), cwd=self.folder,
            )  # fmt: skip
            assert process.stdin is not None
            told = False
            while process.poll() is None:
                if asked and not told:
                    told = True
                    with suppress(BrokenPipeError):  # it has just ended
                        os.write(process.stdin.fileno(), STOP)
                time.sleep(POLL_SECONDS)
            process.stdin.close()
        return ended_code(process.returncode), asked

    def environment(self) -> dict[str, str]:
        """Return the job's environment: this machine's, with the devices that the engine has given this process."""
        return self.job.environment(gpus=None, local=self.alone) | self.settings

    def _output(self) -> AbstractContextManager[IO[bytes] | None]:
        if self.log is None:
            return nullcontext()
        Path(self.log).parent.mkdir(parents=True, exist_ok=True)
        return Path(self.log).open("ab")


@dataclass(frozen=True)
class RequeuedTask(TrainTask):
    """A task that submitit queues again when it was stopped before the job was done.

    Attributes:
        max_requeues: how often.
        requeues: how often that was done.
    """

    max_requeues: int = 0
    requeues: int = 0
    SCHEDULER_SECONDS = 120.0
    """After a SIGTERM Slurm ends a job itself, sooner than this, and alone knows whether it is to run again."""

    def __call__(self) -> int:
        """Return the job's exit code, or leave to be queued again.

        Slurm says by SIGUSR1 (its --signal) that time is up. By SIGTERM it says that it takes the machine away, or
        that the user has cancelled the job: this process then stays until it is killed, since one that ends by itself
        is never queued again.
        """
        queue_again = signal.getsignal(signal.SIGUSR1)
        code, asked = self.run()
        if signal.SIGINT in asked:
            raise KeyboardInterrupt
        if code in DECIDED or not asked:
            return code
        on_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
        if signal.SIGUSR1 not in asked:
            if not on_slurm:
                return code
            time.sleep(self.SCHEDULER_SECONDS)
        if self.requeues >= self.max_requeues:
            print(
                f"stopped after {self.requeues} requeues (hydra.launcher.max_requeues); ask again to go on", flush=True
            )
            return code
        if callable(queue_again):
            queue_again(signal.SIGUSR1, None)  # submitit's: it asks `checkpoint` what to queue, and ends this process
        return code

    def checkpoint(self) -> Any:
        """Return what submitit is to queue: the same, since all state is in the run folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(replace(self, requeues=self.requeues + 1))


class StoppedError(RuntimeError):
    """A job was stopped and can be continued; Ray tries it again."""


def ray_task(task: TrainTask) -> int:
    """Run a task in a Ray worker.

    Raises:
        StoppedError: its machine was about to be taken away.
    """
    code = task()
    if code in STOPPED or code < 0:
        raise StoppedError(f"exit code {code}")
    return code


def settings() -> dict[str, str]:
    """Return the variables that a job is to find wherever it runs: where data, stores and runs lie."""
    return {name: value for name, value in os.environ.items() if name.startswith(KEPT_PREFIX)}


def tail_of(path: Path, hidden: str = "\0") -> tuple[str, ...]:
    """Return the last lines of a job's output, but for those that begin with `hidden`; none if there is no file."""
    if not path.is_file():
        return ()
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return tuple(line for line in lines if line.strip() and not line.startswith(hidden))[-TAIL_LINES:]


@contextmanager
def _noted() -> Iterator[list[int]]:
    """Note the signals that ask this process to stop, in place of whatever an engine does on them."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

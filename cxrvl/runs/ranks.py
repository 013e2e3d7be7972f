"""How do several processes compute one run: started together, watched, and ended together?

They speak torchrun's language (its environment variables, and a store that this parent serves), so Lightning takes them
for its own. Not torchrun's agent: that gives a failed group 30 seconds, takes the signals over, and tells a stop that
was asked for from a crash by nothing.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from cxrvl import errors
from cxrvl.errors import CxrvlError, RankError
from cxrvl.files import read_json
from cxrvl.runs import stopping
from cxrvl.runs.place import RANK_OF
from cxrvl.runs.store import Run

POLL_SECONDS = 0.05
SETTLE_SECONDS = 2.0
"""How long the others have to say what they died of once one rank has ended with an error."""
KILL_SECONDS = 2.0
TAIL_LINES = 30
HERE = "127.0.0.1"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def run_ranks(run: Run, overrides: Sequence[str], count: int, threads: int) -> None:
    """Compute a run that this process has claimed in `count` processes of this machine.

    Every rank is `cxrvl train` with the same overrides and its standard input open to this process: it ends when this
    process does, however that dies.

    Raises:
        RankError: a rank crashed or was killed; the others are gone, too.
        CxrvlError, OSError: what a rank met and the user can mend.
        Stopped: this process was asked to stop; the ranks have written their resume point.
    """
    from torch.distributed import TCPStore

    stopping.stop_if_requested()
    folder = run.folder / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = TCPStore(HERE, 0, is_master=True, wait_for_workers=False)  # a free port, and nobody else's
    name, group = uuid4().hex, list[subprocess.Popen]()

    def send(number: int) -> None:
        for rank in group:
            if rank.poll() is None:
                rank.send_signal(number)

    try:
        with stopping.forwarded(send):
            for rank in range(count):
                group.append(_start(run, overrides, environment(run, name, rank, count, threads, store.port)))
            codes = _watch(group)
    finally:
        _end(group)
        del store
    if any(codes):
        raise _failure(folder, codes)


def environment(run: Run, group: str, rank: int, count: int, threads: int, port: int) -> dict[str, str]:
    """Return the environment of one rank."""
    env = dict(os.environ)
    if sys.platform == "linux":
        env.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo asks the host's name for its address
    own = dict.fromkeys(("RANK", "LOCAL_RANK", "ROLE_RANK"), rank) | dict.fromkeys(
        ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"), count
    )
    own |= {"GROUP_RANK": 0, "GROUP_WORLD_SIZE": 1, "MASTER_PORT": port, "TORCHELASTIC_RESTART_COUNT": 0}
    own |= dict.fromkeys(THREAD_VARIABLES, threads)
    return env | {name: str(value) for name, value in own.items()} | {
        RANK_OF: run.run_id, "MASTER_ADDR": HERE, "TORCHELASTIC_RUN_ID": group,
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip


def _start(run: Run, overrides: Sequence[str], env: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "cxrvl.cli", "train", *overrides]
    rank = env["RANK"]
    if rank == "0":  # the user's terminal shows one rank
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE)
    with (run.folder / "ranks" / f"{rank}.log").open("wb") as out:
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)


def _watch(group: Sequence[subprocess.Popen]) -> list[int | None]:
    """Wait until all ranks have ended, or one has failed and the others had time to follow; None = still runs."""
    deadline: float | None = None
    if stopping.requested():  # before the last one was started
        for rank in group:
            rank.terminate()
    while True:
        codes = [rank.poll() for rank in group]
        if all(code is not None for code in codes) or (deadline is not None and time.monotonic() > deadline):
            return codes
        if deadline is None and any(codes) and not stopping.requested():
            deadline = time.monotonic() + SETTLE_SECONDS
        time.sleep(POLL_SECONDS)


def _end(group: Sequence[subprocess.Popen]) -> None:
    """End what still runs: a rank whose input closes kills its loader workers and itself."""
    for rank in group:
        if rank.stdin is not None:
            rank.stdin.close()
    deadline = time.monotonic() + KILL_SECONDS
    for rank in group:
        try:
            rank.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def _failure(folder: Path, codes: Sequence[int | None]) -> BaseException:
    """Return what brought the group down, as an error of this process."""
    ended = {rank: code for rank, code in enumerate(codes) if code}
    if set(ended.values()) <= {stopping.STOPPED, stopping.INTERRUPTED} or (
        stopping.requested() and not any((folder / f"{rank}.error").is_file() for rank in ended)
    ):
        return stopping.Stopped()
    said = {rank: read_json(folder / f"{rank}.error") for rank in ended if (folder / f"{rank}.error").is_file()}
    # Peers of a rank that was killed say that they lost it; a rank that aborted itself may have been one of them.
    killed = [rank for rank, code in ended.items() if code < 0 and rank not in said and -code != signal.SIGABRT]
    if killed:
        return _killed(folder, killed[0], -ended[killed[0]])
    if not said:
        rank, code = next(iter(ended.items()))
        return RankError(f"rank {rank} ended with exit code {code}", _last_words(folder, rank))
    rank = min(said, key=lambda r: said[r]["time"])
    return _error(rank, said[rank])


def _killed(folder: Path, rank: int, number: int) -> RankError:
    name = signal.Signals(number).name
    if number in (signal.SIGKILL, signal.SIGTERM):
        reason = "for want of memory?" if number == signal.SIGKILL else "from outside"
        return RankError(
            f"rank {rank} was killed by {name} ({reason}); the same command continues the run", killed=True
        )
    return RankError(f"rank {rank} crashed with {name}", _last_words(folder, rank))


def _error(rank: int, said: dict[str, Any]) -> BaseException:
    """Return a rank's error as one of this process, with the rank's traceback for the log."""
    error: BaseException
    kind = getattr(errors, said["kind"], None)
    if isinstance(kind, type) and issubclass(kind, CxrvlError):
        error = kind(said["message"])
    elif said["os"] is not None:
        error = OSError(*said["os"])
    else:
        return RankError(f"rank {rank} failed: {said['summary']}", said["traceback"])
    error.add_note(f"rank {rank}:\n{said['traceback']}")
    return error


def _last_words(folder: Path, rank: int) -> str:
    """Return the end of what a rank wrote before it crashed: Python's stack at the fault, and its output."""
    lines = []
    for path in (folder / f"{rank}.log", folder / f"{rank}.fault"):
        if path.is_file():
            lines += path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(lines)

"""How does a job end with its launcher, and leave nothing behind? A small process between the two.

Run as a file by a bare interpreter, `python -I -S guard.py <grace seconds> <command> ...`, so it starts in tens of
milliseconds and imports nothing but the standard library. Its standard input is a pipe from the launcher, which says
`t` to stop the job and `k` to kill it at once; the end of the file means that the launcher is gone: stop it, too.
"""

import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
REAP_SECONDS = 5.0
FORWARDED = (signal.SIGUSR1, signal.SIGUSR2)
"""A scheduler's warning: the job decides what it means."""
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""A terminal's, meant for the launcher, which stops the job in its own way."""


def main(grace: float, command: list[str]) -> int:
    """Run the command as a process group of its own; returns its exit code, 128 + n when signal n ended it.

    Signals and the pipe's end reach the main process alone: workers and ranks are its own business. It has
    `grace` seconds; then, and whenever it has ended, everything it started is killed, in whatever session that is.
    """
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, *FORWARDED):
        signal.signal(number, lambda *_: None)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # Whatever loses its parent among the job's descendants becomes a child of this process, and can be found.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    job = _start(command)
    deadline = float("inf")
    watched = [sys.stdin.fileno(), woken]
    while (code := _ended(job)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            _kill_all(job)
        ready = select.select(watched, [], [], None if left == float("inf") else min(max(left, 0.05), 60.0))[0]
        asked = set(os.read(woken, 512)) if woken in ready else set()
        if sys.stdin.fileno() in ready:
            said = os.read(sys.stdin.fileno(), 64)
            if not said:
                watched.remove(sys.stdin.fileno())
            if b"k" in said:
                deadline = 0.0
            else:
                asked.add(signal.SIGTERM)
        for number in FORWARDED:
            if number in asked:
                _send(job, number)
        if signal.SIGTERM in asked:
            _send(job, signal.SIGTERM)
            deadline = min(deadline, time.monotonic() + grace)
    _kill_all(job)
    return code


def _start(command: list[str]) -> int:
    """Start the job's main process; it dies with this one."""
    guard = os.getpid()
    job = os.fork()
    if job:
        return job
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)
        for number in (*IGNORED, signal.SIGPIPE, signal.SIGTERM, signal.SIGCHLD, *FORWARDED):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvpe(command[0], command, os.environ)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _ended(job: int) -> int | None:
    """Reap what has ended; returns the main process's exit code once it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == job:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended


def _kill_all(job: int) -> None:
    """Kill the job's group and every descendant, until none is left to reap but the main process."""
    deadline = time.monotonic() + REAP_SECONDS
    while True:
        _send(-job, signal.SIGKILL)
        left = _descendants()
        for pid in left:
            _send(pid, signal.SIGKILL)
        if not left or time.monotonic() > deadline:  # a process the kernel cannot end now dies once it can
            return
        for pid in left:
            if pid != job:
                _reap(pid)
        if left == [job]:
            return
        time.sleep(0.01)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # its own parent still lives, or has reaped it


def _descendants() -> list[int]:
    """Return every process below this one that has not ended; Linux alone can tell."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text(errors="replace").rsplit(")", 1)[1].split()[:2]
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(entry.parent.name))
    found: list[int] = []
    below = [os.getpid()]
    while below:
        below = [child for parent in below for child in children.get(parent, [])]
        found += below
    return found


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # it has ended; PermissionError is how macOS says it of a group


def _prctl(option: int, value: int) -> None:
    """Set a Linux process attribute; elsewhere the group is all there is."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))

"""How does a command stop when it is asked to, and say that the same command continues?

Torch-free, and installed before anything slow is imported: a signal in the first seconds stops a command as well.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cxrvl.errors import ConfigError
from cxrvl.files import no_room

STOPPED = 75
"""Exit code after SIGTERM, SIGUSR1 or SIGUSR2 (EX_TEMPFAIL of sysexits.h): ask again, and it continues."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
SENTENCE = "stopped; the same command continues where it was"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends SIGTERM, and before a time limit the signal it was told to send: SIGUSR1 by custom, SIGUSR2 by submitit."""
AGAIN_SECONDS = 2.0
"""Signals this close together are one request: a scheduler signals a process, and so does the parent it signalled."""


class Stopped(KeyboardInterrupt):
    """This process was asked to stop; everything that tidies up after Ctrl-C does so after this, too."""


class _Request:
    """What was asked of this process so far."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.number: int | None = None
        self.time = 0.0
        self.deferred = False
        self.forward: Callable[[int], None] | None = None


_request = _Request()


def install() -> None:
    """Handle the signals from now on; nothing has been asked yet. Only the main thread can."""
    global _request
    _request = _Request()
    keep()


def keep() -> None:
    """Take the signals back from a library that has put its own handlers in place, and forget nothing."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def requested() -> bool:
    """Return whether this process was asked to stop."""
    return _request.number is not None


def exit_code() -> int:
    """Return the exit code of a command that was stopped."""
    return INTERRUPTED if _request.number in (None, signal.SIGINT) else STOPPED


def farewell() -> SystemExit:
    """Say that the command was stopped, and return what ends it with the right exit code."""
    if "CXRVL_RANK_OF" not in os.environ:  # the process that started the ranks says it once for all of them
        print(SENTENCE, file=sys.stderr)
    return SystemExit(exit_code())


def stop_if_requested() -> None:
    """Stop here if this was asked for.

    Raises:
        Stopped: as said.
    """
    if requested():
        raise Stopped


def defer(deferred: bool) -> None:
    """Choose whether a request stops this process wherever it is, or is only noted for `stop_if_requested`."""
    _request.deferred = deferred


@contextmanager
def forwarded(send: Callable[[int], None]) -> Iterator[None]:
    """Hand requests to other processes, which decide when to end; this one waits for them.

    Args:
        send: called with the signal's number, within the signal handler; a second request calls it with SIGKILL
            and ends this process.
    """
    before, _request.forward = _request.forward, send
    try:
        yield
    finally:
        _request.forward = before


def is_consequence(error: BaseException) -> bool:
    """Return whether an error came of a request to stop.

    That is one raised while the request was on its way out (a library's own tidying up stumbles over what was cut
    short), or a helper process was asked too, and died of it. A full disk is no such error, whatever was asked before.
    A config is: a request in the midst of composing one can surface as any error of Hydra's, and a config that is wrong
    says so when it is asked for again.
    """
    if not requested() or no_room(error) is not None:
        return False
    if isinstance(error, KeyboardInterrupt | SystemExit | ConfigError):
        return True
    # DataLoader workers, process pools and torch.distributed's peers all report a death as a RuntimeError.
    return any(isinstance(c, RuntimeError) for c in _behind(error, context=False)) or any(
        isinstance(c, KeyboardInterrupt) for c in _behind(error, context=True)
    )


def _behind(error: BaseException, context: bool) -> list[BaseException]:
    """Return an error and its causes; with `context`, also what was being handled when each was raised."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__ if context else None]
    return found


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _request.owner:
        _handle_in_fork(number)
        return
    now = time.monotonic()
    if _request.number is None:
        _request.number, _request.time = number, now
        if _request.forward is not None:
            _request.forward(number)
        elif not _request.deferred:
            raise Stopped
    elif now - _request.time > AGAIN_SECONDS:
        _end_at_once()


def _end_at_once() -> None:
    if _request.forward is not None:
        _request.forward(signal.SIGKILL)
    # Not print: the signal may have come in the middle of one. What was written before is safe without a farewell.
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{SENTENCE}\n".encode())
    os._exit(exit_code())


def _handle_in_fork(number: int) -> None:
    """A forked helper inherits the handlers, but decides nothing: its parent ends it."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

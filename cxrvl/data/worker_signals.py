"""Whom does a helper process obey? Its parent alone, also when a scheduler signals every process of a job."""

import os
import signal
import threading


def obey_parent_only(worker: int = 0) -> None:
    """Leave every decision to stop to the parent, which writes where it was and then ends its helpers.

    To be called in the helper, before it starts any thread. A SIGTERM that any other process sends is ignored: the
    helper is needed for the step at hand, and its death would be an error there. Helpers end with their parent.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where no scheduler signals whole jobs
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_parent_says, daemon=True, name="signals").start()


def _end_when_parent_says() -> None:
    parent = os.getppid()
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid not in (parent, os.getppid()):
        continue
    os._exit(0)

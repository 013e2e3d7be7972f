"""How did a job end?"""

import signal
from dataclasses import dataclass

from cxrvl.runs import stopping
from cxrvl.sweeps.jobs import Job

STOPPED = (stopping.STOPPED, stopping.INTERRUPTED)
"""Exit codes of a training that was stopped and continues when asked again."""


def ended_code(code: int) -> int:
    """Return what a guard's exit code says of its job: minus the number of the signal that ended it, else the code.

    A guard says 128 + n of signal n, as shells do. Other codes above 128, such as 255 of a library's exit(-1), are
    exit codes.
    """
    return 128 - code if code - 128 in {int(one) for one in signal.Signals} else code


@dataclass(frozen=True)
class Ended:
    """A job that has ended.

    Attributes:
        code: of its process; 0 done, 75 and 130 stopped; a negative one is the signal that ended it.
        tail: the last lines it printed.
    """

    job: Job
    code: int
    tail: tuple[str, ...] = ()

    def said(self) -> str:
        """Return in a few words how it ended."""
        if self.code == 0:
            return "done"
        if self.code in STOPPED:
            return "was stopped; the same command continues it"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}; the same command continues it"
        return f"exit code {self.code}"

    def __str__(self) -> str:
        where = f"    {self.job.run_folder}"
        return "\n".join(
            [f"{self.job.name} (run {self.job.run_id}): {self.said()}", *(f"    {line}" for line in self.tail), where]
        )

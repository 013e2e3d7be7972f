"""How do a run's loggers learn that training begins at a step, and how it ended?"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger

from cxrvl.tracking.wandb_run import summary_of


def begin(loggers: Sequence[Logger], step: int) -> None:
    """Tell loggers that training begins, or goes on, at an optimiser step; the plain history comes first."""
    for logger in loggers:
        if hasattr(logger, "start"):
            logger.start(step)


def finish(loggers: Sequence[Logger], summary: Mapping[str, Any] | None, error: BaseException | None) -> None:
    """Tell loggers that the run ended.

    Args:
        summary: the numbers the tables use, once they are there.
        error: what ended the run; None = it is done. KeyboardInterrupt and SystemExit = stopped, to be continued.
    """
    for logger in loggers:
        if hasattr(logger, "close"):
            logger.close(summary, error)


@contextmanager
def tracked(loggers: Sequence[Logger], folder: Path) -> Iterator[None]:
    """Finish the loggers of a run however the block ends: with its metrics, or with what was raised."""
    try:
        yield
    except BaseException as error:
        finish(loggers, None, error)
        raise
    finish(loggers, summary_of(folder), None)

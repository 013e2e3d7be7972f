"""How does a run appear in TensorBoard, and what happens to its curves when it resumes?"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from cxrvl.errors import ConfigError


class TensorBoardLogger(Logger):
    """Writes event files to `<run>/tensorboard`; a resumed run hides the points that it will log again.

    Look at all runs together with `tensorboard --logdir runs`.

    Args:
        folder: the run's folder.
        flush_seconds: longest time a point waits in memory.

    Raises:
        ConfigError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path, flush_seconds: int = 30) -> None:
        super().__init__()
        if find_spec("tensorboard") is None:
            raise ConfigError(
                "logger=tensorboard needs the package tensorboard: pip install 'cxrvl[tensorboard]', or leave it out"
            )
        self.folder, self.flush_seconds = Path(folder), flush_seconds
        self._writer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind."""
        return self.__dict__ | {"_writer": None}

    @property
    def name(self) -> str:
        """The logger's name."""
        return "tensorboard"

    @property
    def version(self) -> str:
        """The run's id."""
        return self.folder.name

    @rank_zero_only
    def start(self, step: int) -> None:
        """Open a new event file, which hides everything at or after `step` of the files before it."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(
            str(self.folder / "tensorboard"), purge_step=step or None, flush_secs=self.flush_seconds
        )

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one point per name."""
        if self._writer is not None:
            for key, value in metrics.items():
                self._writer.add_scalar(key, float(value), step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: config.yaml holds them."""

    @rank_zero_only
    def close(self, summary: Mapping[str, Any] | None, error: BaseException | None) -> None:
        """Flush and close the event file; the tables' numbers are in metrics.json."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

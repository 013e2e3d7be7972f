"""How is a training shown on Weights & Biases while it runs? One W&B run per run id, whatever stops and resumes it."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from cxrvl.tracking import wandb_run
from cxrvl.tracking.history import read_history
from cxrvl.tracking.sharing import kept_to_share
from cxrvl.tracking.synced import OFFLINE, content_of, destination, write_note

log = logging.getLogger(__name__)


class WandbLogger(Logger):
    """Sends what is logged to W&B; the run's plain files hold it all as well, so W&B may fail without harm.

    Each step is sent once: the server is asked which it has, and a resumed run sends from there on. Offline there is
    one W&B folder per run, `<run>/wandb/offline-run-*`, written afresh with the whole history when the run resumes.
    No checkpoints are uploaded, no code, no console output.

    Args:
        folder: the run's folder; its name is the run id.
        project, entity: where on the server; entity None = the user's default.
        group: of runs; None = the sweep that started this run, else the experiment.
        tags: beside the experiment's line.
        mode: auto | online | offline | disabled; auto = WANDB_MODE, else online where there is an API key.
        share_data: let pictures, report text and image keys leave, where the data's source is shareable too.
        system_metrics: let W&B sample CPU, disk and GPU load.
        init_timeout: seconds to wait for the server at the start; offline after that.
        finish_timeout: seconds to wait at the end for what is still to be sent.
    """

    def __init__(
        self,
        folder: str | Path,
        project: str = "cxrvl",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: str = "auto",
        share_data: bool = False,
        system_metrics: bool = False,
        init_timeout: float = 30.0,
        finish_timeout: float = 120.0,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.project, self.entity, self.group, self.tags = project, entity, group, tuple(tags)
        self.mode, self.share_data, self.system_metrics = mode, share_data, system_metrics
        self.init_timeout, self.finish_timeout = init_timeout, finish_timeout
        self._run: Any = None
        self._online = False
        self._first = 0
        self._held: tuple[int, dict[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the live run behind: only the process that started it may write to it."""
        return self.__dict__ | {"_run": None, "_held": None}

    @property
    def name(self) -> str:
        """The project."""
        return self.project

    @property
    def version(self) -> str:
        """The run's id."""
        return self.folder.name

    @rank_zero_only
    def start(self, step: int) -> None:
        """Open the W&B run before training begins or goes on at `step`, and send what it lacks of the history.

        Raises:
            ConfigError: an unknown mode.
        """
        mode = wandb_run.chosen_mode(self.mode)
        if mode == "disabled":
            return
        with self._unharmed("starting"):
            if mode == "offline" or not self._open_online():
                for earlier in wandb_run.offline_folders(self.folder):
                    shutil.rmtree(earlier)
                self._run = self._opened("offline")
            pictures = kept_to_share(self.folder, self.share_data)
            for row_step, values in wandb_run.by_step(read_history(self.folder)):
                if row_step >= self._first:
                    shown = wandb_run.images(self.folder, [p for p in pictures if p.step == row_step])
                    wandb_run.send(self._run, values | shown, row_step)

    def _opened(self, mode: str) -> Any:
        arguments = wandb_run.init_arguments(self.folder, self.project, self.entity, self.group, self.tags)
        return wandb_run.open_run(
            arguments, mode, init_timeout=self.init_timeout, finish_timeout=self.finish_timeout,
            system_metrics=self.system_metrics,
        )  # fmt: skip

    def _open_online(self) -> bool:
        """Go on in the server's run of this id; False, and a warning, where the server cannot be reached."""
        try:
            self._run = self._opened("online")
        except Exception as error:  # noqa: BLE001 - whatever keeps W&B away, the training goes on
            log.warning(
                "W&B cannot be reached (%s); this run is tracked offline, `cxrvl runs sync %s` sends it later",
                _line(error), self.version,
            )  # fmt: skip
            wandb_run.tear_down()
            return False
        self._online, self._first = True, wandb_run.first_missing(self._run)
        log.info("W&B: %s", self._run.url)
        return True

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send one row; all rows of one step become one, sent when the next step begins."""
        if self._run is None or step is None or step < self._first:
            return
        if self._held is None or step > self._held[0]:
            self._send_held()
            self._held = (step, {})
        self._held[1].update(metrics)

    @rank_zero_only
    def log_pictures(self, key: str, pictures: list[np.ndarray], captions: list[str], step: int) -> None:
        """Send uint8 pictures (H, W) or (H, W, 3) with one caption each; nothing where `share_data` is false."""
        if self._run is None or not self.share_data:
            return
        with self._unharmed("taking pictures"):
            image = wandb_run.imported().Image
            self.log_metrics({key: [image(p, caption=c) for p, c in zip(pictures, captions, strict=True)]}, step=step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run's config was sent at the start."""

    @rank_zero_only
    def close(self, summary: Mapping[str, Any] | None, error: BaseException | None) -> None:
        """End the W&B run with the summary of a finished run, or the exit code of what ended it.

        A run that was trained earlier and only evaluated now has no live W&B run: its summary is renewed online,
        offline by the next `cxrvl runs sync`.
        """
        if self._run is None and summary and wandb_run.chosen_mode(self.mode) == "online":
            with self._unharmed("renewing the summary"):
                self._open_online()
        if self._run is None:
            return
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        with self._unharmed("finishing"):
            if not stopped:  # the held step may be half a step; a resumed run sends it whole
                self._send_held()
            code = 0 if error is None else wandb_run.STOPPED_CODE if stopped else 1
            wandb_run.close_run(self._run, summary, code)
            if error is None:
                where = destination(self.project, self.entity) if self._online else OFFLINE
                write_note(self.folder, where, content_of(self.folder, "done"), str(self._run.url or ""))
        self._run = self._held = None

    def _send_held(self) -> None:
        if self._held is not None and self._run is not None:
            (step, values), self._held = self._held, None
            with self._unharmed("logging"):
                wandb_run.send(self._run, values, step)

    @contextmanager
    def _unharmed(self, doing: str) -> Iterator[None]:
        """Let nothing that W&B does end a training: say it once, and go on with the plain files."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as said
            self._run = None
            log.warning(
                "W&B failed while %s (%s); history.jsonl and metrics.json hold everything, "
                "`cxrvl runs sync %s` sends it later", doing, _line(error), self.version,
            )  # fmt: skip


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

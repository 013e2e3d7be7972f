"""When and of what are pictures of a training taken? A callback in the places the validation leaves free."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from cxrvl.config.schema import PICTURES_DOUBLING
from cxrvl.data.attention_examples import first_with_box
from cxrvl.data.modules.image import ImageDataModule
from cxrvl.models.attention import attend
from cxrvl.models.cls_attention import cls_attention, transformer_of
from cxrvl.tracking.cases import Case, worst
from cxrvl.tracking.compositions import (
    attention_pictures,
    cls_pictures,
    error_pictures,
    input_pictures,
    view_pictures,
)
from cxrvl.tracking.pages import write_page
from cxrvl.tracking.pictures import Picture, keep, show
from cxrvl.tracking.sharing import receivers

Batch = dict[str, Any]
SHARDED = (FSDPStrategy, ModelParallelStrategy)
"""Strategies whose model no process can run alone; their pages show no attention."""
ATTENTION_SHARE = 2
"""One radiograph in so many of `count` is shown with attention: a line of five pictures is as much as two."""


@runtime_checkable
class DrawsViews(Protocol):
    """A task that draws views of stored images itself, as a function of the place in the run alone."""

    def drawn_views(self, batch: Batch, count: int, step: int) -> tuple[Batch, Mapping[str, Tensor]]:
        """Return the stream whose first `count` images are shown, and their views at an optimiser step, by name."""
        ...


def picture_callbacks(config: dict[str, Any], folder: Path) -> list[pl.Callback]:
    """Return the callback a resolved config asks for; none with tracking.pictures_every=null."""
    tracking = config["tracking"]
    if tracking["pictures_every"] is None:
        return []
    return [PictureTaker(folder, tracking["pictures_every"], tracking["pictures"], config["data"])]


class PictureTaker(pl.Callback):
    """Takes pictures of some validations, keeps them in `<run>/pages` and shows them to loggers that may have them.

    Nothing is drawn at random and no weight, statistic or random state changes: a run with pictures is bit for bit the
    run without. Outside the validations it takes, it does nothing but keep one part of one training batch per epoch.

    Args:
        folder: of the run.
        every: doubling | a number of validations; the first and the last are always taken.
        count: radiographs of each kind.
        data: resolved data section, which says whether pictures may leave the machine.
    """

    def __init__(self, folder: Path, every: str | int, count: int, data: dict[str, Any]) -> None:
        self.folder, self.every, self.count, self.data = folder, every, count, data
        self._inputs: list[Case] = []
        self._views: Mapping[str, Tensor] = {}
        self._step = 0
        self._worst: list[Case] = []
        self._boxed: list[Case] = []
        self._boxed_rows: set[int] = set()
        self._taking = False

    def due(self, trainer: pl.Trainer) -> bool:
        """Return whether this epoch's validation is taken: a function of the place in the run, not of its history."""
        epoch, between = trainer.current_epoch + 1, trainer.check_val_every_n_epoch or 1
        number = epoch // between
        last = trainer.max_epochs is not None and 0 < trainer.max_epochs < epoch + between
        ended = 0 < trainer.max_steps <= trainer.global_step
        if self.every == PICTURES_DOUBLING:
            return last or ended or number & (number - 1) == 0
        return last or ended or number == 1 or number % int(self.every) == 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last epoch's inputs."""
        self._inputs, self._views = [], {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Note the step whose chance the batch's views are drawn by."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Keep some of the first training images of an epoch, as they went into the network."""
        if self._inputs or not trainer.is_global_zero:
            return
        if isinstance(pl_module, DrawsViews) and self.due(trainer):
            stream, views = pl_module.drawn_views(batch, self.count, self._step)
            self._views = {name: view.detach().float().cpu() for name, view in views.items()}
            first = next(iter(self._views.values()))
            self._inputs = [Case.of(stream, number, image) for number, image in enumerate(first)]
            return
        if not _has_images(batch):
            return
        images = batch["image"][: self.count].detach().float().cpu()
        self._inputs = [Case.of(batch, number, images[number]) for number in range(len(images))]

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide whether to take this validation, and which radiographs with boxes to look out for."""
        self._taking = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and self.due(trainer)
        self._worst, self._boxed, self._boxed_rows = [], [], set()
        data = _data(trainer)
        if self._taking and data is not None:
            rows = data.rows("val")[trainer.global_rank :: trainer.world_size]
            self._boxed_rows = {one.row for one in first_with_box(data.table, rows)[: self._attended]}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the radiographs of this batch that are worse predicted than those kept, and those with boxes."""
        if not self._taking or not _has_images(batch):
            return
        if isinstance(outputs, dict) and {"logits", "targets"} <= set(outputs):
            self._worst = worst(self._worst, batch, outputs["logits"], outputs["targets"], self.count)
        for number, row in enumerate(batch["index"].tolist()):
            if row in self._boxed_rows:
                self._boxed.append(Case.of(batch, number, batch["image"][number].detach().float().cpu()))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw what was gathered: the network is still in evaluation mode, and this validation is logged."""
        if not self._taking:
            return
        everywhere = self._gathered(trainer)
        if trainer.is_global_zero:
            step, epoch = max(trainer.global_step - 1, 0), trainer.current_epoch
            pictures = self._pictures(trainer, pl_module, everywhere)
            keep(self.folder, pictures, step, epoch)
            show(receivers(trainer.loggers, self.data), pictures, step)
            write_page(self.folder)
        self._taking, self._worst, self._boxed = False, [], []

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the page anew with the whole curves."""
        if trainer.is_global_zero:
            write_page(self.folder)

    @property
    def _attended(self) -> int:
        return max(1, self.count // ATTENTION_SHARE) if self.count else 0

    def _gathered(self, trainer: pl.Trainer) -> list[Case]:
        """Return the worst cases of all devices; a collective call, made by all of them."""
        if trainer.world_size == 1:
            return self._worst
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, self._worst)
        return sorted((case for part in parts for case in part), key=lambda case: -case.loss)[: self.count]

    def _pictures(self, trainer: pl.Trainer, module: pl.LightningModule, worst_cases: list[Case]) -> list[Picture]:
        data = _data(trainer)
        if data is None:
            return []
        pictures = error_pictures(worst_cases, data.table)
        if self._views:
            pictures += view_pictures(self._inputs, self._views, data.table)
        else:
            pictures += input_pictures(self._inputs, data.table)
        cases = (self._boxed or worst_cases)[: self._attended]
        if cases and not isinstance(trainer.strategy, SHARDED):
            images = torch.stack([case.image for case in cases]).to(module.device)
            encoder = transformer_of(module)
            with trainer.precision_plugin.forward_context():
                found = attend(module.model, images)  # type: ignore[arg-type]
                maps = None if encoder is None else cls_attention(encoder, images)
            if found is not None:
                pictures += attention_pictures(cases, data.table, found)
            if maps is not None:
                pictures += cls_pictures(cases, data.table, maps)
        return pictures


def _has_images(batch: Any) -> bool:
    """Return whether a batch holds whole radiographs of the study table: texts and crops have no picture yet."""
    image = batch.get("image") if isinstance(batch, dict) else None
    return isinstance(image, Tensor) and image.ndim == 4 and "index" in batch


def _data(trainer: pl.Trainer) -> ImageDataModule | None:
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, ImageDataModule) else None

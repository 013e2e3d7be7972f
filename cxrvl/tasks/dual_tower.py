"""How do radiographs and their reports come to lie near each other? By contrast with those of other studies."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.triplets.labels import number_of
from cxrvl.errors import ConfigError
from cxrvl.losses.companions import Companions, word_table
from cxrvl.losses.image_text import ImageTextLoss, SigLIP
from cxrvl.models.chunks import checked_chunk, in_chunks, refuse_batch_statistics
from cxrvl.models.dual_tower import TOWERS, DualTower
from cxrvl.models.text.chunks import tokens_in
from cxrvl.tasks.base import Batch, StepOutput, Task
from cxrvl.tasks.parameter_groups import parameter_groups
from cxrvl.tasks.stored_features import StoredFeatures, image_keys, open_stores, text_keys

log = logging.getLogger(__name__)
KINDS = ("study", "text", "labels")
"""What two pairs may have in common, so that they are no negatives of each other."""
GROUPS = {
    "image_tower": ("image_tower.",), "text_tower": ("text_tower.",),
    "projections": ("image_projection.", "text_projection."),
}  # fmt: skip
"""Parts of the model that can learn at rates of their own -> how their parameters' names begin."""
_RECALLS = (1, 5)
_BLOCK = 1024
_PRESENT, _UNCERTAIN = 1.0, -1.0


class DualOutput(NamedTuple):
    """What a dual tower predicts of images, or of texts.

    embedding: (B, D), as it is compared. features: (B, F), of the tower, before the projection.
    """

    embedding: Tensor
    features: Tensor


class ImageTextContrast(Task):
    """Contrastive learning of an image tower and a text tower (papers/llm2clip4cxr.md, section 2).

    Args:
        model: a `DualTower`.
        loss: see `cxrvl.losses.image_text`.
        groups: image_tower | text_tower | projections -> {lr, weight_decay, layer_decay}; the scale and what no group
            names learn at the optimiser's own.
        chunk: images, and texts, whose activations are held at once, for large batches (GradCache); 0 = all.
        not_negatives: what makes two pairs no negatives of each other: study (views of one study), text (identical
            reports), labels (the same findings).
        store_root: where the features of a tower that never learns are kept, so that each is computed once, see
            `cxrvl.tasks.stored_features`; None = they are computed anew in every step.
        options: of `Task`.

    Validation logs, of the whole split, `val/recall_at_1` and `val/recall_at_5`: the share of images that find a report
    with the text of their own among the first, averaged with that of reports that find an image of such a report.

    Raises:
        ConfigError: another model, an unknown kind, a negative chunk, chunks over a tower that normalises by its batch.
    """

    OUTPUTS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        model: nn.Module,
        loss: ImageTextLoss,
        optimizer: Callable[..., Any],
        scheduler: Callable[..., Any] | None = None,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        chunk: int = 0,
        not_negatives: Sequence[str] = ("study", "text"),
        store_root: str | None = None,
        monitor: str = "val/recall_at_5",
        monitor_mode: str = "max",
        seed: int = 0,
    ) -> None:
        if not isinstance(model, DualTower):
            raise ConfigError(f"task=dual_tower needs a dual tower (model=dual_...), found {type(model).__name__}")
        super().__init__(model, optimizer, scheduler, monitor=monitor, monitor_mode=monitor_mode, seed=seed)
        for kind in not_negatives:
            if kind not in KINDS:
                raise ConfigError(f"task.not_negatives names '{kind}'{did_you_mean(kind, KINDS)}; expected {KINDS}")
        if isinstance(loss, SigLIP) and model.logit_bias is None:
            log.warning(
                "SigLIP without a bias starts with every pair half right, though nearly all are wrong, and its first steps "
                "are spent on that; start with model.logit_scale=10 model.logit_bias=-10"
            )
        self.loss, self.chunk, self.not_negatives = loss, checked_chunk(chunk), tuple(not_negatives)
        self.store_root = None if store_root is None else Path(store_root)
        self.stored: dict[str, StoredFeatures] = {}
        self.groups = {part: dict(options) for part, options in (groups or {}).items()}
        self.tower.train()
        if self.chunk:
            for name in TOWERS:
                refuse_batch_statistics(self.tower.get_submodule(name), name)
        self.parameter_groups()  # refuses what is wrong with them before data are read

    @property
    def tower(self) -> DualTower:
        """The model, by its own type."""
        assert isinstance(self.model, DualTower)
        return self.model

    @classmethod
    def parts(cls) -> dict[str, str]:
        """Return the parts: both towers, and their projections.

        `image_tower` starts from the `encoder` of a classifier, or from `backbone` or `teacher_backbone` of a self-training
        run; `text_tower` from the `encoder` of a text run.
        """
        return {
            "image_tower": "model.image_tower.backbone.", "text_tower": "model.text_tower.",
            "image_projection": "model.image_projection.", "text_projection": "model.text_projection.",
        }  # fmt: skip

    # One step.

    def step(self, batch: Batch, stage: str) -> StepOutput:
        """Embed the pairs of one batch and contrast them."""
        image, text = self.image_embeddings(batch["image"]), self.text_embeddings(batch)
        companions = self.companions(batch)
        tower = self.tower
        loss = self.loss(image, text, tower.scale, tower.logit_bias, companions, alone=stage != "train")
        logs = {"scale": tower.scale}
        if tower.logit_bias is not None:
            logs["bias"] = tower.logit_bias
        outputs = {}
        if stage != "train":
            outputs = {"image": image, "text": text, "key": torch.tensor([number_of(t) for t in report_texts(batch)])}
        return StepOutput(loss, len(image), logs, outputs)

    def image_embeddings(self, images: Tensor) -> Tensor:
        """Return embeddings (B, D) of images (B, 1, H, W), in chunks where the task says so."""
        tower = self.tower
        if "image_tower" in self.stored:
            found = self.stored["image_tower"]
            return tower.project_image(found.of(image_keys(images), lambda rows: tower.image_features(images[rows])))
        return in_chunks(tower.encode_image, images.split(self.chunk or len(images)))

    def text_embeddings(self, batch: Batch) -> Tensor:
        """Return embeddings (B, D) of a batch's texts, in chunks where the task says so."""
        tower, texts, bodies = self.tower, batch["text"], batch["body"].cpu()
        if "text_tower" in self.stored:

            def features(rows: Tensor) -> Tensor:
                some = tower.tokenize([texts[row] for row in rows.tolist()], bodies[rows])
                return tower.text_features(some.to(self.device))

            return tower.project_text(self.stored["text_tower"].of(text_keys(texts, bodies), features))
        tokens = tower.tokenize(texts, bodies).to(self.device)
        return in_chunks(tower.encode_text, tokens_in(tokens, self.chunk or len(tokens.input_ids)))

    def companions(self, batch: Batch) -> Companions:
        """Return what else is known of the pairs of a batch: by what they are no negatives, and the words they have."""
        columns = []
        texts = report_texts(batch)
        for kind in self.not_negatives:
            if kind == "study":
                columns.append(batch["study"].cpu().tolist())
            elif kind == "text":
                columns.append([number_of(text) for text in texts])
            else:
                columns.append([number_of(finding_set(row)) for row in batch["target"].cpu().numpy()])
        keys = torch.tensor(columns, dtype=torch.int64).T.contiguous().to(self.device) if columns else None
        words = word_table(texts).to(self.device) if self.loss.soften is not None else None
        return Companions(keys, words)

    def validation_metrics(self, outputs: dict[str, Tensor]) -> dict[str, float]:
        """Return the shares that find their counterpart among the first 1 and 5 of the whole split."""
        image, text, keys = outputs["image"], outputs["text"], outputs["key"]
        found = {}
        for count in _RECALLS:
            ways = [found_within(*pair, keys, count) for pair in ((image, text), (text, image))]
            found[f"recall_at_{count}"] = float(torch.cat(ways).float().mean())
        return found

    # What evaluations ask.

    def predict_step(self, batch: Batch, batch_idx: int) -> DualOutput:
        """Return the embeddings of a batch's images, or of its texts where it has no images."""
        tower = self.tower
        if "image" in batch:
            features = tower.image_features(batch["image"])
            return DualOutput(tower.project_image(features), features)
        features = tower.text_features(tower.tokenize(batch["text"], batch["body"].cpu()).to(self.device))
        return DualOutput(tower.project_text(features), features)

    @property
    def similarity_scale(self) -> float:
        """What a similarity is multiplied by to be a logit."""
        return float(self.tower.scale.detach())

    def encode_patches(self, images: Tensor) -> Tensor:
        """Return embeddings (B, h, w, D) of the places of images (B, 1, H, W), see `DualTower.encode_patches`."""
        return self.tower.encode_patches(images)

    # What Lightning calls around a step.

    def on_fit_start(self) -> None:
        """Open the stores, and refuse a batch in parts, whose pairs would not be contrasted with one another.

        Raises:
            ConfigError: as said.
        """
        if self.trainer.accumulate_grad_batches != 1:
            raise ConfigError(
                f"trainer.accumulate_grad_batches={self.trainer.accumulate_grad_batches} would contrast each part of a "
                "batch by itself; set it to 1, and task.chunk to the number of pairs that fit"
            )
        data: Any = getattr(self.trainer, "datamodule", None)
        self.stored = open_stores(self.tower, data, self.store_root, str(self.trainer.precision))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then keep the scale within its bounds: here, since a resume point is taken before any later hook."""
        super().optimizer_step(*args, **kwargs)
        self.tower.bound_scale()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters by tower and depth."""
        given = getattr(self.make_optimizer, "keywords", {})
        return parameter_groups(self.tower, self.groups, GROUPS, given.get("lr"), given.get("weight_decay"))


def report_texts(batch: Batch) -> list[str]:
    """Return the reports of a batch without instruction, white space and case made equal."""
    bodies = batch["body"].cpu().numpy()
    return [" ".join(text[start:end].lower().split()) for text, (start, end) in zip(batch["text"], bodies, strict=True)]


def finding_set(targets: np.ndarray) -> str:
    """Name the findings that labels (L,) claim or suspect; the same for equal sets, "" where nothing is stated."""
    found = [f"{i}={value:g}" for i, value in enumerate(targets) if value in (_PRESENT, _UNCERTAIN)]
    return ";".join(found) if found else "none" if not np.isnan(targets).all() else ""


def found_within(queries: Tensor, documents: Tensor, keys: Tensor, count: int) -> Tensor:
    """Which queries (N, D) have a document with their own key (N,) among the `count` most similar of (N, D): (N,) bool."""
    most = min(count, len(documents))
    parts = [
        (keys[(rows @ documents.T).topk(most).indices] == own[:, None]).any(dim=1)
        for rows, own in zip(queries.split(_BLOCK), keys.split(_BLOCK), strict=True)
    ]
    return torch.cat(parts)

"""How does one network see many views of an image, and give DINO its features and the labels their logits?"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError, DataError
from cxrvl.models.image_encoder import ImageEncoder


class SelfTrainingOutput(NamedTuple):
    """logits (B, L) of one view."""

    logits: Tensor


class ViewOutputs(NamedTuple):
    """What a network says of V views of a batch of B; rows are view-major: view v's are v*B to (v+1)*B - 1.

    Attributes:
        features: prototype scores (n*B, K) of the n views asked for; None if none.
        logits: (c*B, L) of the c views asked for, c may be 0.
        embeddings: (V*B, D) of all views.
    """

    features: Tensor | None
    logits: Tensor
    embeddings: Tensor


class SelfTrainingNetwork(nn.Module):
    """An encoder with a class head and, where there is self-distillation, a feature head (distl.md section 1.1).

    Both heads stand on the same embedding. Raises ConfigError where features are asked for and there is no such head,
    DataError for views that do not belong together.
    """

    def __init__(self, encoder: ImageEncoder, class_head: nn.Module, feature_head: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder, self.class_head, self.feature_head = encoder, class_head, feature_head

    def forward(self, images: Tensor) -> SelfTrainingOutput:
        """Return the logits (B, L) of images (B, 1, H, W) in [0, 1], as an evaluation asks for them."""
        return SelfTrainingOutput(self.class_head(self.encoder(images)))

    def views(
        self, views: Sequence[Tensor], class_views: Sequence[int], features: bool | Sequence[int] = True
    ) -> ViewOutputs:
        """Return features, logits and embeddings of several views of the same images.

        Args:
            views: each (B, 1, h, w) in [0, 1]; those of one size pass the encoder together.
            class_views: which of them the class head sees, in the order of its output.
            features: which of them the feature head sees, in the order of its output; True = all, False = none.
        """
        chosen = range(len(views)) if features is True else () if features is False else features
        embeddings = self.embed(views)
        return ViewOutputs(
            self._features(embeddings, chosen) if len(chosen) else None,
            self.class_head(_of_views(embeddings, class_views)),
            embeddings.flatten(0, 1),
        )

    def embed(self, views: Sequence[Tensor]) -> Tensor:
        """Return the embeddings (V, B, D) of views (B, 1, h, w), by one call of the encoder per size."""
        counts = {len(view) for view in views}
        if len(counts) != 1:
            raise DataError(f"{len(views)} views with {sorted(counts)} images; expected views of the same images")
        by_size: dict[torch.Size, list[int]] = {}
        for index, view in enumerate(views):
            by_size.setdefault(view.shape[1:], []).append(index)
        count = len(views[0])
        parts = [
            self.encoder(torch.cat([views[i] for i in members]) if len(members) > 1 else views[members[0]])
            for members in by_size.values()
        ]
        order = [index for members in by_size.values() for index in members]
        embeddings = torch.cat(parts) if len(parts) > 1 else parts[0]
        embeddings = embeddings.unflatten(0, (len(views), count))
        if order == sorted(order):
            return embeddings
        place = {index: position for position, index in enumerate(order)}
        return embeddings[[place[index] for index in range(len(views))]]

    def _features(self, embeddings: Tensor, chosen: Sequence[int]) -> Tensor:
        if self.feature_head is None:
            raise ConfigError("self-training network: features are asked for; give the model a feature_head")
        scores: Tensor = self.feature_head(_of_views(embeddings, chosen))
        return scores


def _of_views(embeddings: Tensor, chosen: Sequence[int]) -> Tensor:
    """Return the embeddings (c*B, D) of some views of (V, B, D)."""
    everything = list(chosen) == list(range(len(embeddings)))
    return (embeddings if everything else embeddings[list(chosen)]).flatten(0, 1)

"""What do the evaluations of image and text ask of a model, and what do they make of its answers?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from cxrvl.errors import RunError
from cxrvl.evaluation.predictions import to_numpy
from cxrvl.evaluation.probing import Batch, Network
from cxrvl.evaluation.ranking import Vectors

if TYPE_CHECKING:
    from torch import Tensor


UNPAIRED = (
    "the evaluation compares images with their reports, and the data has no pairs of both; choose data of pairs "
    "(data=..._pairs), or leave the evaluation out"
)


class Embedded(Protocol):
    """What the model answers to a batch.

    embedding: (B, D), of the images where the batch has `image`, else of its texts (`text`, and `body`, the characters
    [start, end) of each that are the report); as the model compares them, by their dot product.
    features: (B, F), the same before the projection into the common space.
    """

    embedding: "Tensor"
    features: "Tensor"


@runtime_checkable
class DualEncoder(Protocol):
    """A task whose model embeds images and texts in one space; its `predict_step` answers with `Embedded`."""

    @property
    def similarity_scale(self) -> float:
        """What a similarity is multiplied by to be a logit; positive."""
        ...

    def encode_patches(self, images: "Tensor") -> "Tensor":
        """Return places (B, h, w, D) of images (B, 1, H, W), as the model would compare each; ConfigError without any."""
        ...


class Passage(NamedTuple):
    """A text as the model reads it, and the characters [start, end) of it that are pooled."""

    text: str
    start: int
    end: int

    @property
    def body(self) -> str:
        """The part that is pooled."""
        return self.text[self.start : self.end]

    def with_body(self, body: str) -> "Passage":
        """The same text around another body."""
        return Passage(self.text[: self.start] + body + self.text[self.end :], self.start, self.start + len(body))


def dual(network: Network) -> DualEncoder:
    """Return the task under evaluation; RunError where it does not embed images and texts in one space."""
    if not isinstance(network.task, DualEncoder):
        raise RunError(
            f"the evaluation compares images with texts, which {type(network.task).__name__} does not; evaluate a run of "
            "a dual tower (task=dual_tower), or leave the evaluation out"
        )
    return network.task


def image_embeddings(output: Any) -> Vectors:
    """The embeddings (B, D) of a batch's images; RunError for an answer that has none, or none that are numbers."""
    return _checked(_part(output, "embedding"), "image")


def image_features(output: Any) -> Vectors:
    """The features (B, F) of a batch's images before the projection; RunError as `image_embeddings`."""
    return _checked(_part(output, "features"), "image")


def text_embeddings(network: Network, passages: Sequence[Passage]) -> Vectors:
    """Return the embeddings (n, D) of texts; equal ones are computed once and are equal.

    Raises:
        RunError: the model compares no images with texts, or an embedding is zero or no number.
    """
    import torch  # not above: a config is checked without it

    dual(network)
    different = {passage: place for place, passage in enumerate(dict.fromkeys(passages))}
    asked = tuple(different)
    if asked not in network.answers:
        bodies = torch.tensor([(one.start, one.end) for one in asked], dtype=torch.int64)
        output = network.predict({"text": [one.text for one in asked], "body": bodies})
        network.answers[asked] = _checked(output.embedding, "text")
    vectors = network.answers[asked]
    return np.asarray(vectors[[different[one] for one in passages]])


def passages_of(batch: Batch) -> list[Passage]:
    """The reports of a batch; RunError for a batch of images alone."""
    if "text" not in batch or "image" not in batch:
        raise RunError(UNPAIRED)
    bodies = np.asarray(batch["body"].cpu()).tolist()
    return [Passage(text, start, end) for text, (start, end) in zip(batch["text"], bodies, strict=True)]


def _part(output: Any, name: str) -> Any:
    value = getattr(output, name, None)
    if value is None:
        raise RunError(
            f"the model gives no {name} of its images; evaluate a run of a dual tower (task=dual_tower), or leave the "
            "evaluation out"
        )
    return value


def _checked(values: Any, what: str) -> Vectors:
    vectors = to_numpy(values)
    norms = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise RunError(
            f"the {what} tower gave an embedding that is zero or no number: the model has diverged or overflows"
        )
    return vectors

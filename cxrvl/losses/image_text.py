"""How well do images find their reports among those of a batch, and reports their images?"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from cxrvl.errors import ConfigError
from cxrvl.losses.companions import Companions, Softening, everyone, identity, places, related, targets
from cxrvl.losses.contrastive import gathered, rank

NOTHING = Companions()


class ImageTextLoss(nn.Module):
    """Base of the losses of a dual tower: called with embeddings as they are compared.

    soften: near-duplicates of a report are right in part; None = they are wrong. See `Softening`.
    """

    def __init__(self, soften: Softening | None = None) -> None:
        super().__init__()
        self.soften = soften

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        scale: Tensor,
        bias: Tensor | None = None,
        companions: Companions = NOTHING,
        alone: bool = False,
    ) -> Tensor:
        """Return the mean loss of this device's pairs, scalar; the devices' average is that of the whole batch.

        Args:
            image, text: (B, D), row i of one belongs to row i of the other; equal B on every device. Normalised, unless
                raw dot products are meant.
            scale: of the similarities, scalar: already the exponential, where it is learnt as a logarithm.
            bias: added to the logits, scalar.
            companions: what else is known of the pairs.
            alone: this device's pairs are all there are, such as in validation, where batches differ in size.
        """
        raise NotImplementedError


class InfoNCE(ImageTextLoss):
    """The loss of CLIP: each image chooses among all texts, each text among all images; open_clip's, where that fits.

    Args:
        local: each device scores its own pairs against all (memory B x N); false = every device scores all (N x N).
            Loss and gradients are the same.
        soften: see `ImageTextLoss`. With it, or with keys, the texts left out or right in part are own code.
    """

    def __init__(self, local: bool = True, soften: Softening | None = None) -> None:
        super().__init__(soften)
        self.local = local

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        scale: Tensor,
        bias: Tensor | None = None,
        companions: Companions = NOTHING,
        alone: bool = False,
    ) -> Tensor:
        """Return the loss, see `ImageTextLoss`."""
        image, text = _wide(image), _wide(text)
        world = 1 if alone or not torch.distributed.is_initialized() else torch.distributed.get_world_size()
        right = places(len(image), image.device, alone)
        out, near = related(companions, everyone(companions, self.soften, alone), self.soften, right)
        if out is None and near is None:
            from open_clip.loss import ClipLoss  # half a second that every other training would wait for

            plain = ClipLoss(local_loss=self.local, gather_with_grad=True, rank=rank(), world_size=world)
            return plain(image, text, scale, bias)
        if not self.local and world > 1:
            raise ConfigError("task.loss.local=false is plain: with keys or soft targets set task.loss.local=true")
        over = identity if alone else gathered
        aim = targets(near, right, world * len(image), self.soften.share if self.soften else 0.0).to(image.dtype)
        there = _chosen(scale * image @ over(text).T, bias, out, aim)
        return (there + _chosen(scale * text @ over(image).T, bias, out, aim)) / 2


class SigLIP(ImageTextLoss):
    """Every image with every text is a question of its own: do they belong together? (Zhai et al., arXiv:2303.15343)

    The logits of `chunk` images at a time are held, and computed again for their gradient: memory chunk x N, not B x N;
    what the companions leave out likewise.
    A near-duplicate is right with probability `soften.share` times its likeness.

    Args:
        chunk: images at once; 0 = all.
        soften: see `ImageTextLoss`.

    Raises:
        ConfigError: a negative chunk.
    """

    def __init__(self, chunk: int = 64, soften: Softening | None = None) -> None:
        super().__init__(soften)
        if chunk < 0:
            raise ConfigError(f"task.loss.chunk is {chunk}; expected a number of images, or 0 for all at once")
        self.chunk = chunk

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        scale: Tensor,
        bias: Tensor | None = None,
        companions: Companions = NOTHING,
        alone: bool = False,
    ) -> Tensor:
        """Return the sum over all texts, averaged over this device's images, see `ImageTextLoss`."""
        image, texts = _wide(image), _wide(text if alone else gathered(text))
        right = places(len(image), image.device, alone)
        every = everyone(companions, self.soften, alone)
        step = self.chunk or len(image)
        total = image.new_zeros(())
        # Split, not sliced: the gradient of a slice would be as large as the whole, chunk after chunk.
        for number, part in enumerate(image.split(step)):
            rows = slice(number * step, number * step + len(part))
            given: tuple[Any, ...] = (
                part, texts, scale, bias, right[rows], companions.rows(rows), every, self.soften,
            )  # fmt: skip
            total = total + (
                _answers(*given)
                if step >= len(image)
                else checkpoint(_answers, *given, use_reentrant=False, preserve_rng_state=False)
            )
        return total / len(image)


def _answers(
    image: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    right: Tensor,
    here: Companions,
    every: Companions,
    soften: Softening | None,
) -> Tensor:
    """Sum of the losses of some images with all texts: -log sigmoid of the logit where right, of its negative where not.

    What is left out or right in part is found here, chunk by chunk: of a whole batch it would take as much room as the
    logits.
    """
    out, near = related(here, every, soften, right)
    logits = scale * image @ texts.T
    if bias is not None:
        logits = logits + bias
    rows = torch.arange(len(image), device=image.device)
    # log sigmoid(x) = log sigmoid(-x) + x: one evaluation for both answers.
    wrong = logsigmoid(-logits)
    if out is not None:
        wrong = wrong.masked_fill(out, 0.0)
    total = -wrong.sum() - logits[rows, right].sum()
    if near is not None and soften is not None:
        yes = (soften.share * near).to(logits.dtype).index_put((rows, right), near.new_zeros((), dtype=logits.dtype))
        total = total - (yes * logits).sum()
    return total


def _chosen(logits: Tensor, bias: Tensor | None, out: Tensor | None, aim: Tensor) -> Tensor:
    """Mean cross-entropy of rows with target distributions, over the columns that are not left out."""
    logits = logits if bias is None else logits + bias
    logits = logits if out is None else logits.masked_fill(out, float("-inf"))
    # Where nothing is aimed at, -inf times 0 would be no number.
    return -(aim * logits.log_softmax(dim=1).masked_fill(aim == 0, 0.0)).sum(dim=1).mean()


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))

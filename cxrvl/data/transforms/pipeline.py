"""How do steps become one transform? In order, with geometric neighbours composed and resampled once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import CenterCrop, Geometric, Resize, Size, needed
from cxrvl.data.transforms.pil_blur import RandomGaussianBlur
from cxrvl.data.transforms.resample import Sampling, resample
from cxrvl.data.transforms.tone import ToneCurve, apply_curves
from cxrvl.errors import ConfigError

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}
# On a CPU so many images, or so many pixels of the output, go through all steps before the next ones: their
# intermediate results stay in the caches.
CPU_SLICE = 8
CPU_PIXELS = CPU_SLICE * 2**16


class Transform(Protocol):
    """(B, 1, H, W) float32 in [0, 1] to another such batch; `draw` is None in evaluation, where chance is refused."""

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor: ...


def to_float(pixels: Tensor) -> Tensor:
    """Stored pixels, uint8 or uint16 of any shape, to float32 in [0, 1]; ConfigError for other types."""
    if pixels.dtype not in FULL_SCALE:
        raise ConfigError(f"pixels are {pixels.dtype}, expected float32, or uint8 or uint16 of an image store")
    return pixels.to(torch.float32).div_(FULL_SCALE[pixels.dtype])


@dataclass
class _Group:
    """Neighbouring steps that are carried out as one, with the names they draw under."""

    names: list[str] = field(default_factory=list)
    moves: list[Geometric] = field(default_factory=list)
    curves: list[ToneCurve] = field(default_factory=list)
    other: Transform | None = None

    @property
    def sampling(self) -> Sampling | None:
        """How the pixels of geometric steps are taken; None while they are only moved."""
        return next((step.sampling for step in self.moves if step.sampling), None)

    def takes(self, step: Transform) -> bool:
        """Whether a step can be carried out together with those of the group."""
        if isinstance(step, Geometric) and self.moves:
            return None in (self.sampling, step.sampling) or self.sampling == step.sampling == "bilinear"
        # Curves are applied as one, and a blur of PIL's as each image comes from them.
        return isinstance(step, ToneCurve | RandomGaussianBlur) and bool(self.curves) and self.other is None

    def add(self, name: str, step: Transform) -> None:
        """Take a step into the group."""
        self.names.append(name)
        if isinstance(step, Geometric):
            self.moves.append(step)
        elif isinstance(step, ToneCurve):
            self.curves.append(step)
        else:
            self.other = step

    def size(self, height: int, width: int) -> Size:
        """Height and width after the group's steps."""
        for step in self.moves:
            height, width = step.size(height, width)
        return height, width

    def matrix(self, n: int, height: int, width: int, draw: Draw) -> Tensor | None:
        """The composed maps (n, 3, 3) of geometric steps; None where a lone step without chance does it better."""
        if not self.moves or (len(self.moves) == 1 and not self.moves[0].random):
            return None
        total: Tensor | None = None
        for name, step in zip(self.names, self.moves, strict=True):
            matrix = step.matrix(n, height, width, draw.scope(name))
            total = matrix if total is None else total @ matrix
            height, width = step.size(height, width)
        return total

    @property
    def pil(self) -> bool:
        """Whether the steps are PIL's: they keep bytes as bytes, and work on a CPU in pieces of their own."""
        return (
            bool(self.curves) or self.sampling in ("bicubic", "nearest") or isinstance(self.other, RandomGaussianBlur)
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done for images that keep their size."""
        return len(self.moves) == 1 and isinstance(self.moves[0], Resize)

    def __call__(self, images: Tensor, draw: Draw, matrix: Tensor | None) -> Tensor:
        """Change a batch into another one."""
        if self.curves:
            blurs = None
            if isinstance(self.other, RandomGaussianBlur):
                blurs = self.other.blurs(draw.scope(self.names[-1]), (images.shape[-2], images.shape[-1]))
            named = zip(self.curves, self.names[: len(self.curves)], strict=True)  # a blur's name is behind them
            return apply_curves(_at_most_bytes(images), [(step, draw.scope(name)) for step, name in named], blurs)
        if self.other is not None:
            return self.other(_floats(images), draw.scope(self.names[0]))
        images = _floats(images) if self.sampling in (None, "bilinear") else _at_most_bytes(images)
        if matrix is None:
            return self.moves[0](images, draw)
        return resample(images, matrix, self.size(*images.shape[-2:]), self.sampling or "bilinear")


class Pipeline:
    """Steps in order.

    In training (a draw is given) neighbouring geometric steps are composed into one matrix per image and resampled
    once: crops and mirrors exactly and antialiased, anything turned or sheared by one bilinear sampling. Steps that
    sample as PIL ("bicubic", "nearest") are composed with mirrors alone, and keep bytes as bytes, in PIL's rounding.
    Neighbouring tone curves are applied as one. In evaluation each step is carried out as torchvision would. Every step
    draws under its own name, `RandomAffine.0`, `RandomAffine.1`, so adding a step of another kind leaves the others'
    draws as they were.
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        self.steps = tuple(steps)
        seen: Counter[str] = Counter()
        self.named: list[tuple[str, Transform]] = []
        for step in self.steps:
            kind = type(step).__name__
            self.named.append((f"{kind}.{seen[kind]}", step))
            seen[kind] += 1
        self._groups: list[_Group] = []
        for name, step in self.named:
            if not self._groups or not self._groups[-1].takes(step):
                self._groups.append(_Group())
            self._groups[-1].add(name, step)

    def __call__(self, images: Tensor, draw: Draw | None = None, copies: int = 1) -> Tensor:
        """Transform (B, 1, H, W), float32 in [0, 1] or stored pixels (see `to_float`).

        Args:
            images: the batch; it is left as it is.
            draw: chance, for (copies * B) samples; None in evaluation.
            copies: how many results of each image, see `Draw.copies`.

        Returns:
            (copies * B, 1, h, w) float32 in [0, 1], copy after copy.
        """
        if images.dim() != 4 or len(images) == 0:
            raise ConfigError(f"transforms take images as (B, 1, H, W), got {tuple(images.shape)}")
        n = copies * len(images)
        if draw is not None and len(draw.keys) != n:
            raise ConfigError(f"a draw for {len(draw.keys)} samples was given with {n} images")
        matrices = [] if draw is None else self._matrices(n, images, draw)
        step = n
        height, width = self.size(*images.shape[-2:])
        still = (height, width) == images.shape[-2:]
        if images.device.type == "cpu" and not all(group.pil or (still and group.idle) for group in self._groups):
            step = max(CPU_SLICE, CPU_PIXELS // (height * width))
        if n <= step:
            # A bicubic crop takes all its copies from one image.
            if copies > 1 and [group.sampling for group in self._groups[:1]] != ["bicubic"]:
                images = images.repeat(copies, 1, 1, 1)
            return self._run(images, draw, matrices)
        out: Tensor | None = None
        size = len(images)
        if copies > 1 and not self._groups[0].pil:
            images = _floats(images)
        starts = [slice(i, min(i + step, size)) for i in range(0, size, step)]
        parts = [slice(c * size + rows.start, c * size + rows.stop) for c in range(copies) for rows in starts]
        draws = [None] * len(parts) if draw is None else draw.parts(parts)
        for i, (part, some) in enumerate(zip(parts, draws, strict=True)):
            maps = [None if matrix is None else matrix[part] for matrix in matrices]
            done = self._run(images[starts[i % len(starts)]], some, maps)
            if out is None:
                out = done.new_empty(n, *done.shape[1:])
            out[part] = done
        assert out is not None
        return out

    def _matrices(self, n: int, images: Tensor, draw: Draw) -> list[Tensor | None]:
        """The maps of each group for the whole batch: small numbers, which cost a call and not a pixel's time."""
        size = (images.shape[-2], images.shape[-1])
        matrices = []
        for group in self._groups:
            matrices.append(group.matrix(n, *size, draw))
            size = group.size(*size)
        return matrices

    def _run(self, images: Tensor, draw: Draw | None, matrices: Sequence[Tensor | None]) -> Tensor:
        if draw is None:
            images = _floats(images)
            for step in self.steps:
                images = step(images, None)
            return images
        for group, matrix in zip(self._groups, matrices, strict=True):
            images = group(images, draw, matrix)
        return _floats(images)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output for an input of this size."""
        for group in self._groups:
            height, width = group.size(height, width)
        return height, width

    def fov(self, fov: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Field of view of an evaluation pipeline's output.

        fov: (B, 4) x0, y0, x1, y1 in shares of the native image that the input covers; size: height and width of the
        input, None for the square images of a store (then a Resize must stand before any CenterCrop).
        ConfigError for pipelines with random geometry, whose view differs from image to image.
        """
        for step in self.steps:
            if not isinstance(step, Geometric):
                continue
            if isinstance(step, CenterCrop):
                if size is None:
                    raise ConfigError(
                        "the field of view of CenterCrop depends on the image size; put a Resize before it"
                    )
                fov = step.fov_of(fov, *size)
            elif not isinstance(step, Resize):
                needed(None, step)
            size = step.size(*(size or (1, 1)))
        return fov


def _floats(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float32 else to_float(images)


def _at_most_bytes(images: Tensor) -> Tensor:
    """Bytes as they are, everything else as float32."""
    return images if images.dtype == torch.uint8 else _floats(images)

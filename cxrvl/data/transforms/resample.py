"""How are pixels taken at the points a matrix names? Exactly and antialiased for crops, bilinear for all other maps."""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cxrvl.data.transforms.pil_bicubic import bicubic_crops
from cxrvl.data.transforms.pil_nearest import chunk, nearest

Sampling = Literal["bilinear", "bicubic", "nearest"]
# A crop edge this near to a pixel edge (in pixels) lies on it: compositions are in float64.
ON_EDGE = 1e-6
# Bilinear sampling skips pixels once it shrinks by more than this; the image is then shrunk with antialiasing first.
SHRINK = 1.5


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing: (B, 1, H, W) float32 to (B, 1, *size), as torchvision and Pillow."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    # Where no axis shrinks the antialiased filter is plain bilinear interpolation, which is twice as fast.
    shrinks = size[0] < height or size[1] < width
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)


def resample(images: Tensor, matrix: Tensor, size: tuple[int, int], sampling: Sampling = "bilinear") -> Tensor:
    """Show each image through its matrix.

    images: (B, 1, H, W) float32, for "bicubic" and "nearest" uint8 too; matrix: (B, 3, 3) float64, output to input
    coordinates in shares of the sides; size: height and width of the output. Points outside the image are 0 (air).
    Crops on pixel edges inside the image, mirrored or not, are cut out and resized as `resize` does; all others go
    through one bilinear sampling, after shrinking where they shrink by more than `SHRINK`. Each image's pixels depend
    on that image's matrix alone.
    sampling: that is "bilinear"; "bicubic" (crops on pixel edges alone) and "nearest" take pixels as PIL does.
    """
    if sampling == "bicubic":
        return bicubic_crops(images, matrix, size)
    if sampling == "nearest":
        return nearest(images, matrix, size)
    height, width = images.shape[-2:]
    cpu = matrix.cpu()
    boxes = _pixel_boxes(cpu, height, width)
    out: list[Tensor | None] = [None] * len(images)
    for i, box in enumerate(boxes):
        if box is not None:
            x0, y0, x1, y1, mirror = box
            piece = resize(images[i : i + 1, :, y0:y1, x0:x1], size)
            out[i] = piece.flip(-1) if mirror else piece
    warped = [i for i, piece in enumerate(out) if piece is None]
    for factor, rows in _by_factor(cpu, warped, (height, width), size).items():
        if factor == 1:
            # Neighbours are sampled where they lie; only the others of a batch that is mixed need to be gathered.
            for run in _runs(rows, chunk(len(rows), size, images.device)):
                out[run.start : run.stop] = _sample(images[run], matrix[run], size).split(1)
            continue
        some = resize(images[rows], (max(1, round(height / factor)), max(1, round(width / factor))))
        for i, piece in zip(rows, _sample(some, matrix[rows], size).split(1), strict=True):
            out[i] = piece
    return torch.cat([piece for piece in out if piece is not None])


def _runs(rows: list[int], longest: int) -> list[slice]:
    """Ascending numbers as slices of neighbours, of at most so many."""
    breaks = [i for i in range(1, len(rows)) if rows[i] != rows[i - 1] + 1]
    runs = [(rows[a], rows[b - 1] + 1) for a, b in pairwise([0, *breaks, len(rows)])]
    return [slice(i, min(i + longest, stop)) for start, stop in runs for i in range(start, stop, longest)]


def _pixel_boxes(matrix: Tensor, height: int, width: int) -> list[tuple[int, int, int, int, bool] | None]:
    """Crops as x0, y0, x1, y1 in whole pixels and whether mirrored; None for maps that are no such crop."""
    start = matrix[:, :2, 2]
    span = matrix[:, [0, 1], [0, 1]]
    scale = torch.tensor([width, height], dtype=torch.float64)
    edges = torch.cat([start * scale, (start + span) * scale], dim=1)
    whole = edges.round()
    plain = (matrix[:, 0, 1] == 0) & (matrix[:, 1, 0] == 0) & (span[:, 1] > 0)
    plain &= ((edges - whole).abs() < ON_EDGE).all(dim=1)
    plain &= (whole >= 0).all(dim=1) & (whole <= scale.repeat(2)).all(dim=1) & (whole[:, 0] != whole[:, 2])
    boxes: list[tuple[int, int, int, int, bool] | None] = []
    for fits, (x0, y0, x1, y1) in zip(plain.tolist(), whole.to(torch.int64).tolist(), strict=True):
        boxes.append((min(x0, x1), y0, max(x0, x1), y1, x1 < x0) if fits else None)
    return boxes


def _by_factor(
    matrix: Tensor, rows: list[int], size: tuple[int, int], out_size: tuple[int, int]
) -> dict[int, list[int]]:
    """Group images by the whole factor they are shrunk by before sampling."""
    if not rows:
        return {}
    area = torch.linalg.det(matrix[rows][:, :2, :2]).abs() * (size[0] * size[1]) / (out_size[0] * out_size[1])
    groups: dict[int, list[int]] = {}
    for row, shrink in zip(rows, area.sqrt().tolist(), strict=True):
        groups.setdefault(round(shrink) if shrink > SHRINK else 1, []).append(row)
    return groups


def _sample(images: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    m = (matrix[:, :2] * 2).to(images)
    x = (torch.arange(width, device=images.device, dtype=images.dtype) + 0.5) / width
    y = (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5) / height
    # Two outer sums are several times faster than affine_grid's matrix product; grid_sample counts from -1 to 1.
    across = m[:, None, None, :, 0] * x[None, None, :, None]
    down = m[:, None, None, :, 1] * y[None, :, None, None] + (m[:, None, None, :, 2] - 1)
    return F.grid_sample(images, across + down, mode="bilinear", padding_mode="zeros", align_corners=False)

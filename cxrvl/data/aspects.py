"""What are all images of some stores compared by? Hashes, vectors and thumbnails of each, whole and without its margins."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cxrvl.data.images import ImageStore
from cxrvl.data.perceptual import FINE, codes, frames, halved, normalised, thumbnails

BATCH = 128
# An image with a shorter side of at least this share of the longer one counts as a square.
SQUARE = 0.97
# int8 keeps normalised thumbnails to 1/32: their values lie within +-4 but for a few points.
STEPS = 32.0
WHOLE = np.array([0.0, 1.0, 0.0, 1.0])
UNCUT, OBLONG, MIDDLE, UNFRAMED = range(4)

# Of image numbers (B,), in groups of one store: places (b,) among them, stored squares (b, S, S) uint8 or uint16, and
# the boxes (b, 4) of the squares in the middle of the native images; `WHOLE` for native squares.
Read = Callable[[np.ndarray], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]]


class Squares(NamedTuple):
    """Images of one store: pixels (N, S, S) unsigned integers, may be a memory map; rows (n,) the wanted ones; middle
    (n, 4) float64 the middle square of each: y0, y1, x0, x1 of the stored square in [0, 1].
    """

    pixels: np.ndarray
    rows: np.ndarray
    middle: np.ndarray

    @classmethod
    def of(cls, store: ImageStore, rows: np.ndarray) -> "Squares":
        """Take readable rows of an image store."""
        return cls(store.pixels, rows, middles(store.index[["width", "height"]].to_numpy()[rows], store.fov[rows]))


@dataclass(frozen=True)
class Aspects:
    """What all images are compared by: E >= N aspects of N images (whole, and without frame).

    image: (E,) int64 number of the image. kind: (E,) int8: `UNCUT` of a square image, `OBLONG` of another one,
    `MIDDLE` the square in the middle of an oblong one, `UNFRAMED`. box: (E, 4) float64 the part seen: y0, y1, x0, x1 of
    the stored square in [0, 1]. inside: (E, 4) the image without its frame.
    hash: (E,) uint64; vector: (E, K) float32; inverted: (E,) bool; coarse: (E, 32, 32) and fine: (E, 64, 64) int8
    normalised thumbnails. About 6 kB an aspect.
    """

    image: np.ndarray
    kind: np.ndarray
    box: np.ndarray
    inside: np.ndarray
    hash: np.ndarray
    vector: np.ndarray
    inverted: np.ndarray
    coarse: np.ndarray
    fine: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def middles(sizes: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Where the middle square of native images lies in the stored ones, (N, 4) float64: y0, y1, x0, x1 in [0, 1].

    sizes: (N, 2) native width and height; fov: (N, 4) as `ImageStore.fov`. `WHOLE` where the image is a square but for a
    few per cent, its size is unknown, or the store itself shows less.
    """
    width, height = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    known = (width > 0) & (height > 0)
    short = np.minimum(width, height)
    spans = []
    for side, first, last in ((height, fov[:, 1], fov[:, 3]), (width, fov[:, 0], fov[:, 2])):
        cut = np.where(known, 1 - short / np.where(known, side, 1), 0) / 2
        extent = np.where(known, last - first, 1)
        spans += [(cut - np.where(known, first, 0)) / extent, (1 - cut - np.where(known, first, 0)) / extent]
    box = np.stack(spans, axis=1)
    oblong = known & (short < SQUARE * np.maximum(width, height)) & (box >= 0).all(axis=1) & (box <= 1).all(axis=1)
    return np.where(oblong[:, None], box, WHOLE)


def reader(stores: Sequence[Squares]) -> tuple[Read, int]:
    """Number the images of several stores one after the other: how to read them, and how many there are."""
    ends = np.cumsum([len(store.rows) for store in stores])

    def read(numbers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        which = np.searchsorted(ends, numbers, side="right")
        for one in np.unique(which):
            store, places = stores[one], np.flatnonzero(which == one)
            own = numbers[places] - (ends[one] - len(store.rows))
            yield places, store.pixels[store.rows[own]], store.middle[own]

    return read, int(ends[-1])


def aspects(read: Read, count: int) -> Aspects:
    """Hash `count` images, batch by batch."""
    if count < 1:
        raise ValueError("no images to compare")
    parts = []
    for start in range(0, count, BATCH):
        numbers = np.arange(start, min(start + BATCH, count))
        parts += [_aspects(pixels, middle, numbers[places]) for places, pixels, middle in read(numbers)]
    return Aspects(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _aspects(pixels: np.ndarray, middle: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    size, every = pixels.shape[1], np.arange(len(pixels))
    inner = frames(pixels) / size
    framed, oblong = (np.flatnonzero((boxes != WHOLE).any(axis=1)) for boxes in (inner, middle))
    which = np.concatenate([every, framed, oblong])
    kind = np.concatenate([np.where(np.isin(every, oblong), OBLONG, UNCUT), np.full(len(framed), UNFRAMED),
                           np.full(len(oblong), MIDDLE)]).astype(np.int8)  # fmt: skip
    boxes = np.concatenate([np.tile(WHOLE, (len(every), 1)), inner[framed], middle[oblong]])
    fine = thumbnails(pixels[which], boxes * size, FINE)
    coarse = halved(fine)
    code = codes(coarse)
    turned = code.inverted
    return (
        numbers[which], kind, boxes, inner[which], code.hash, code.vector, turned,
        kept_as_bytes(normalised(coarse), turned), kept_as_bytes(normalised(fine), turned),
    )  # fmt: skip


def kept_as_bytes(drawings: np.ndarray, inverted: np.ndarray) -> np.ndarray:
    """Normalised thumbnails (B, s, s) as int8, inverted ones turned back."""
    sign = np.where(inverted, -STEPS, STEPS)[:, None, None]
    kept: np.ndarray = np.clip(np.rint(drawings * sign), -127, 127).astype(np.int8)
    return kept

"""Which images are the same picture? A perceptual hash proposes pairs, correlation of aligned thumbnails confirms them.

Four steps, each a thousand times dearer per pair than the one before, on what the one before has left: 64-bit hashes
within a Hamming distance (all pairs), the cosine of the vectors the hashes are the signs of, and the correlation of
normalised thumbnails of 32 and then of 64 pixels, whose tiles may shift by a few pixels. Two radiographs of one
patient, however alike, do not pass the last: it looks at the drawing, not at the shape.

An image is compared whole, where it has one without its constant frame, and, if it is no square, by the square in its
middle with images that are squares (the usual preprocessing of other people's copies). All are compared mirrored and
inverted as well: sets gathered from papers and slides hold such copies, and they leak as much as plain ones.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cxrvl.data.images import ImageStore
from cxrvl.data.perceptual import COARSE, FINE, codes, frames, halved, mirror_bits, normalised, reference, thumbnails, whole

RADIUS = 14
COSINE = 0.7
COARSE_CORRELATION = 0.8
CORRELATION = 0.8
# A thumbnail is compared in so many tiles a side, each of which may shift by so many of its pixels.
TILES = {COARSE: 2, FINE: 3}
SHIFT = {COARSE: 1, FINE: 3}
# Less than this share of the width or height is too little to compare two pictures by.
NARROW = 0.5
# An image with a shorter side of at least this share of the longer one counts as a square.
SQUARE = 0.97
BATCH = 128
# A block of distances stays in the processor's cache.
BLOCK_ROWS, BLOCK_COLUMNS = 32, 4096
# int8 keeps normalised thumbnails to 1/32: their values lie within +-4 but for a few points.
STEPS = 32.0
WHOLE = np.array([0.0, 1.0, 0.0, 1.0])
WHOLE_VIEW, OBLONG, MIDDLE, UNFRAMED = range(4)

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
class Views:
    """What all images are compared by: E >= N views of N images (whole, and without frame).

    image: (E,) int64 number of the image; kind: (E,) int8 `WHOLE_VIEW` of a square image, `OBLONG` of another,
    `MIDDLE` the square in the middle of an oblong one, `UNFRAMED`. box: (E, 4) float64 the part seen, y0, y1, x0, x1 of the stored square in
    [0, 1]; inside: (E, 4) the image without its frame.
    hash: (E,) uint64; vector: (E, K) float32; inverted: (E,) bool; coarse: (E, 32, 32) and fine: (E, 64, 64) int8
    normalised thumbnails. About 6 kB a view.
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


@dataclass(frozen=True)
class Pairs:
    """D pairs of images, first < second, likest first.

    first, second: (D,) int64 numbers of images. correlation: (D,) float64 of the aligned thumbnails, at least
    `CORRELATION`. mirrored, inverted: (D,) bool, how the second shows the first.
    """

    first: np.ndarray
    second: np.ndarray
    correlation: np.ndarray
    mirrored: np.ndarray
    inverted: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def duplicates(read: Read, count: int, threads: int | None = None) -> Pairs:
    """Find the same picture among `count` images.

    read: see `Read`, and `reader`; squares are best 64 pixels or more. threads: of the search, by default one per core
    this process may use. Raises ValueError if there is no image.
    """
    found = views(read, count)
    return confirm(read, found, *candidates(found, threads))


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


def views(read: Read, count: int) -> Views:
    """Hash `count` images, batch by batch."""
    if count < 1:
        raise ValueError("no images to compare")
    parts = []
    for start in range(0, count, BATCH):
        numbers = np.arange(start, min(start + BATCH, count))
        parts += [_views(pixels, middle, numbers[places]) for places, pixels, middle in read(numbers)]
    return Views(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _views(pixels: np.ndarray, middle: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
    size, every = pixels.shape[1], np.arange(len(pixels))
    inner = frames(pixels) / size
    framed, oblong = (np.flatnonzero((boxes != WHOLE).any(axis=1)) for boxes in (inner, middle))
    which = np.concatenate([every, framed, oblong])
    kind = np.concatenate([np.where(np.isin(every, oblong), OBLONG, WHOLE_VIEW), np.full(len(framed), UNFRAMED),
                           np.full(len(oblong), MIDDLE)]).astype(np.int8)  # fmt: skip
    boxes = np.concatenate([np.tile(WHOLE, (len(every), 1)), inner[framed], middle[oblong]])
    fine = thumbnails(pixels[which], boxes * size, FINE)
    coarse = halved(fine)
    code = codes(coarse)
    turned = code.inverted
    return (
        numbers[which], kind, boxes, inner[which], code.hash, code.vector, turned,
        _kept(normalised(coarse), turned), _kept(normalised(fine), turned),
    )  # fmt: skip


def _kept(drawings: np.ndarray, inverted: np.ndarray) -> np.ndarray:
    """Normalised thumbnails (B, s, s) as int8, inverted ones turned back."""
    sign = np.where(inverted, -STEPS, STEPS)[:, None, None]
    kept: np.ndarray = np.clip(np.rint(drawings * sign), -127, 127).astype(np.int8)
    return kept


def candidates(found: Views, threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of views of different images with close hashes and vectors: first, second (C,) int64, mirrored (C,) bool."""
    plain, middle, square = (np.flatnonzero(np.isin(found.kind, kinds))
                             for kinds in ((WHOLE_VIEW, OBLONG, UNFRAMED), (MIDDLE,), (WHOLE_VIEW,)))  # fmt: skip
    jobs = [(plain, start, plain) for start in range(0, len(plain), BLOCK_ROWS)]
    jobs += [(middle, start, square) for start in range(0, len(middle), BLOCK_ROWS)]
    workers = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda job: _near(found, *job), jobs))
    first, second, mirrored = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return first, second, mirrored


def _near(found: Views, rows: np.ndarray, start: int, columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pairs of one block of the views `rows` with the views `columns`; with later ones, if they are the same."""
    block, upper = rows[start : start + BLOCK_ROWS], rows is columns
    kept: list[tuple[np.ndarray, ...]] = [(np.empty(0, int), np.empty(0, int), np.empty(0, bool))]
    own, size = found.hash[block][:, None], len(block) * BLOCK_COLUMNS
    differing, distances = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.uint8)
    for column in range(start if upper else 0, len(columns), BLOCK_COLUMNS):
        others = columns[column : column + BLOCK_COLUMNS]
        shape = (len(block), len(others))
        bits, distance = (room[: len(block) * len(others)].reshape(shape) for room in (differing, distances))
        np.bitwise_xor(own, found.hash[others][None], out=bits)
        for mirrored in (False, True):
            if mirrored:
                np.bitwise_xor(bits, mirror_bits(), out=bits)
            np.bitwise_count(bits, out=distance)
            row, place = np.divmod(np.flatnonzero(distance <= RADIUS), len(others))
            if upper:
                later = place + column > row + start
                row, place = row[later], place[later]
            first, second = block[row], others[place]
            other = found.vector[second]
            if mirrored:
                other = np.where(reference().odd, -other, other)
            cosine = np.einsum("ck,ck->c", found.vector[first], other)
            good = (cosine >= COSINE) & (found.image[first] != found.image[second])
            kept.append((first[good], second[good], np.full(int(good.sum()), mirrored)))
    return tuple(np.concatenate(part) for part in zip(*kept, strict=True))


def confirm(read: Read, found: Views, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray) -> Pairs:
    """Keep the candidates whose thumbnails correlate; one pair per two images, with its best correlation."""
    for seen, least in ((_coarse, COARSE_CORRELATION), (_fine, CORRELATION)):
        scores = np.empty(len(first), dtype=np.float32)
        for part in _batches(len(first)):
            one, other = seen(read, found, first[part], second[part], mirrored[part])
            scores[part] = aligned(one, _turned(other, mirrored[part]), least)
        kept = scores >= least
        first, second, mirrored, scores = first[kept], second[kept], mirrored[kept], scores[kept]
    return _distinct(found, first, second, mirrored, scores)


def _batches(count: int) -> Iterator[slice]:
    return (slice(start, start + BATCH) for start in range(0, count, BATCH))


def _turned(thumbs: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    return np.where(mirrored[:, None, None], thumbs[:, :, ::-1], thumbs)


def _coarse(
    read: Read, found: Views, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return found.coarse[first], found.coarse[second]


def _fine(
    read: Read, found: Views, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Thumbnails (B, 64, 64) of two views each; read again from the images where both are whole and one has a frame.

    Different pictures in the same letterbox correlate by its edges: they are compared by what both show inside.
    """
    one, other = found.fine[first], found.fine[second]
    inside, turned = found.inside[first], _turned_boxes(found.inside[second], mirrored)
    common = np.where([True, False, True, False], np.maximum(inside, turned), np.minimum(inside, turned))
    wide = (common[:, 1] - common[:, 0] >= NARROW) & (common[:, 3] - common[:, 2] >= NARROW)
    both = ((found.box[first] == WHOLE) & (found.box[second] == WHOLE)).all(axis=1)
    again = np.flatnonzero(both & wide & (common != WHOLE).any(axis=1))
    one[again] = _seen(read, found, first[again], common[again])
    other[again] = _seen(read, found, second[again], _turned_boxes(common[again], mirrored[again]))
    return one, other


def _turned_boxes(boxes: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    left, right = boxes[:, 2], boxes[:, 3]
    turned = np.stack([boxes[:, 0], boxes[:, 1], 1 - right, 1 - left], axis=1)
    return np.where(mirrored[:, None], turned, boxes)


def _seen(read: Read, found: Views, numbers: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Normalised thumbnails (B, 64, 64) int8 of other boxes of the images of views (B,)."""
    thumbs = np.empty((len(numbers), FINE, FINE), dtype=np.float32)
    for places, pixels, _ in read(found.image[numbers]):
        thumbs[places] = thumbnails(pixels, boxes[places] * pixels.shape[1], FINE)
    return _kept(normalised(thumbs), found.inverted[numbers])


def aligned(one: np.ndarray, other: np.ndarray, least: float = -1.0) -> np.ndarray:
    """Correlation of normalised thumbnails (B, s, s), s = 32 or 64, each tile at its best small shift; (B,) float32.

    Tiles that shift by themselves follow what a crop, a rotation by a degree or another aspect ratio does. A pair is
    given up, with a number below `least`, as soon as it cannot reach that any more.
    """
    shift, tiles = SHIFT[one.shape[1]], TILES[one.shape[1]]
    size = (one.shape[1] - 2 * shift) // tiles
    starts = [shift + tile * size for tile in range(tiles)]
    lost, active = np.zeros(len(one), dtype=np.float32), np.arange(len(one))
    for y in starts:
        for x in starts:
            fixed = _standard(one[active, y : y + size, x : x + size])
            best = np.full(len(active), -1.0, dtype=np.float32)
            for dy in range(-shift, shift + 1):
                for dx in range(-shift, shift + 1):
                    moved = _standard(other[active, y + dy : y + dy + size, x + dx : x + dx + size])
                    np.maximum(best, np.einsum("bp,bp->b", fixed, moved), out=best)
            lost[active] += 1 - best
            active = active[1 - lost[active] / tiles**2 >= least]
    return 1 - lost / tiles**2


def _standard(patch: np.ndarray) -> np.ndarray:
    """Patches (B, h, w) as vectors (B, h w) float32 of mean 0 and length 1; constant ones become 0."""
    flat = patch.reshape(len(patch), patch.shape[1] * patch.shape[2]).astype(np.float32)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("bp,bp->b", flat, flat))[:, None]
    standard: np.ndarray = np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-6)
    return standard


def _distinct(
    found: Views, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray, scores: np.ndarray
) -> Pairs:
    """One pair per two images: its likest views."""
    likest = np.lexsort((second, first, -scores))
    one, other = found.image[first], found.image[second]
    keys = np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1)[likest]
    _, place = np.unique(keys, axis=0, return_index=True)
    place.sort()
    chosen = likest[place]
    inverted = found.inverted[first[chosen]] != found.inverted[second[chosen]]
    return Pairs(keys[place, 0], keys[place, 1], scores[chosen].astype(np.float64), mirrored[chosen], inverted)

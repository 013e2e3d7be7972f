"""Which images are the same picture? A perceptual hash proposes pairs, correlation of aligned thumbnails confirms them.

Four steps, each dearer for a pair than the one before, and only on what that one has left: 64-bit hashes within a
Hamming distance (all pairs), the cosine of the vectors the hashes are the signs of, and the correlation of
normalised thumbnails of 32 and then of 64 pixels, whose tiles may shift by a few pixels. Two radiographs of one
patient, however alike, do not pass the last: it looks at the drawing, not at the shape.

An image is compared whole, where it has one without its constant frame, and, if it is no square, by the square in its
middle with images that are squares (the usual preprocessing of other people's copies). All are compared mirrored and
inverted as well: sets gathered from papers and slides hold such copies, and they leak as much as plain ones.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cxrvl.data.aspects import BATCH, MIDDLE, OBLONG, UNCUT, UNFRAMED, WHOLE, Aspects, Read, aspects, kept_as_bytes
from cxrvl.data.perceptual import COARSE, FINE, mirror_bits, normalised, reference, thumbnails

RADIUS = 14
COSINE = 0.7
COARSE_CORRELATION = 0.8
CORRELATION = 0.8
# A thumbnail is compared in so many tiles a side, each of which may shift by so many of its pixels.
TILES = {COARSE: 2, FINE: 3}
SHIFT = {COARSE: 1, FINE: 3}
# Less than this share of the width or height is too little to compare two pictures by.
NARROW = 0.5
# A block of distances stays in the processor's cache.
BLOCK_ROWS, BLOCK_COLUMNS = 32, 4096


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

    read: see `cxrvl.data.aspects.Read`, and `reader` there; squares are best 64 pixels or more. threads: of the search,
    by default one per core this process may use. Raises ValueError if there is no image.
    """
    found = aspects(read, count)
    return confirm(read, found, *candidates(found, threads))


def candidates(found: Aspects, threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of aspects of different images with close hashes and vectors: first, second (C,) int64, mirrored (C,) bool."""
    plain, middle, square = (np.flatnonzero(np.isin(found.kind, kinds))
                             for kinds in ((UNCUT, OBLONG, UNFRAMED), (MIDDLE,), (UNCUT,)))  # fmt: skip
    jobs = [(plain, start, plain) for start in range(0, len(plain), BLOCK_ROWS)]
    jobs += [(middle, start, square) for start in range(0, len(middle), BLOCK_ROWS)]
    workers = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(lambda job: _near(found, *job), jobs))
    first, second, mirrored = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return first, second, mirrored


def _near(found: Aspects, rows: np.ndarray, start: int, columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pairs of one block of the aspects `rows` with the aspects `columns`; with later ones, if they are the same."""
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


def confirm(read: Read, found: Aspects, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray) -> Pairs:
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
    read: Read, found: Aspects, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return found.coarse[first], found.coarse[second]


def _fine(
    read: Read, found: Aspects, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Thumbnails (B, 64, 64) of two aspects each; read again from the images where both are whole and one has a frame.

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


def _seen(read: Read, found: Aspects, numbers: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Normalised thumbnails (B, 64, 64) int8 of other boxes of the images of aspects (B,)."""
    thumbs = np.empty((len(numbers), FINE, FINE), dtype=np.float32)
    for places, pixels, _ in read(found.image[numbers]):
        thumbs[places] = thumbnails(pixels, boxes[places] * pixels.shape[1], FINE)
    return kept_as_bytes(normalised(thumbs), found.inverted[numbers])


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


def _distinct(found: Aspects, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray, scores: np.ndarray) -> Pairs:
    """One pair per two images: its likest aspects."""
    likest = np.lexsort((second, first, -scores))
    one, other = found.image[first], found.image[second]
    keys = np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1)[likest]
    _, place = np.unique(keys, axis=0, return_index=True)
    place.sort()
    chosen = likest[place]
    inverted = found.inverted[first[chosen]] != found.inverted[second[chosen]]
    return Pairs(keys[place, 0], keys[place, 1], scores[chosen].astype(np.float64), mirrored[chosen], inverted)

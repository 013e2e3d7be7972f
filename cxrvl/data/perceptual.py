"""Which few numbers stay the same when a radiograph is re-encoded, resized, brightened, trimmed or inverted?

A picture is reduced to its lowest DCT frequencies. Chest radiographs are so alike that the usual perceptual hash (which
coefficients exceed their median) pairs dozens of patients: here the coefficients are first compared with those of the
average radiograph (`perceptual_reference.csv`: mean and deviation of 128 of them over 1,938 frontal images of NIH
ChestX-ray14, each image of unit length), so that every bit splits radiographs in halves.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

FINE, COARSE = 64, 32
BITS = 64
REFERENCE = Path(__file__).with_name("perceptual_reference.csv")
# A border row or column of a frame is constant but for the noise of its encoding (share of the full range).
CONSTANT = 0.02
SAMPLES = 64
NEIGHBOURHOOD = {COARSE: 3, FINE: 2}
FAINT = 0.1


class Reference(NamedTuple):
    """The DCT coefficients used, by frequency: row, column (K,) int; mean, deviation (K,) float32; odd (K,) bool."""

    row: np.ndarray
    column: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    odd: np.ndarray


class Codes(NamedTuple):
    """What images are compared by: hash (N,) uint64, vector (N, K) float32 of length 1, inverted (N,) bool."""

    hash: np.ndarray
    vector: np.ndarray
    inverted: np.ndarray


@cache
def reference() -> Reference:
    """Read the average radiograph; coefficients that a mirror turns round (odd columns) have the mean 0."""
    table = pd.read_csv(REFERENCE)
    row, column = (table[name].to_numpy(dtype=np.int64) for name in ("row", "column"))
    mean, deviation = (table[name].to_numpy(dtype=np.float32) for name in ("mean", "deviation"))
    return Reference(row, column, mean, deviation, column % 2 == 1)


@cache
def mirror_bits() -> np.uint64:
    """The bits of a hash that a mirror turns round."""
    return np.uint64(_packed(reference().odd[None, :BITS])[0])


def frames(pixels: np.ndarray) -> np.ndarray:
    """Where each picture lies inside a constant frame (letterbox), (N, 4) float64: y0, y1, x0, x1 in pixels.

    pixels: (N, S, S) unsigned integers. Without a frame, and for constant images: the whole square.
    """
    size = pixels.shape[1]
    step, full = max(size // SAMPLES, 1), float(np.iinfo(pixels.dtype).max)
    edges = []
    for lines in (pixels[:, :, ::step], pixels[:, ::step].swapaxes(1, 2)):
        alive = lines.astype(np.float32).std(axis=2) > CONSTANT * full
        first, last = alive.argmax(axis=1), size - alive[:, ::-1].argmax(axis=1)
        none = ~alive.any(axis=1)
        edges += [np.where(none, 0, first), np.where(none, size, last)]
    return np.stack(edges, axis=1).astype(np.float64)


def thumbnails(pixels: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Average each box of pixels (N, S, S) over (size, size) cells; returns (N, size, size) float32 in [0, 1]."""
    full = float(np.iinfo(pixels.dtype).max)
    rows = _shares(boxes[:, 0], boxes[:, 1], size, pixels.shape[1])
    columns = _shares(boxes[:, 2], boxes[:, 3], size, pixels.shape[2])
    out: np.ndarray = rows @ (pixels.astype(np.float32) / full) @ columns.swapaxes(1, 2)
    return out


def _shares(first: np.ndarray, last: np.ndarray, cells: int, pixels: int) -> np.ndarray:
    """How much of each pixel lies in each of the equal cells from `first` to `last`: (N, cells, pixels), rows of sum 1."""
    edges = first[:, None] + (last - first)[:, None] * (np.arange(cells + 1) / cells)
    start = np.arange(pixels)
    overlap = np.minimum(edges[:, 1:, None], start + 1) - np.maximum(edges[:, :-1, None], start)
    shares = np.clip(overlap, 0, None)
    return (shares / shares.sum(axis=2, keepdims=True)).astype(np.float32)


def halved(thumbs: np.ndarray) -> np.ndarray:
    """Average thumbnails (N, 2s, 2s) to (N, s, s)."""
    count, size = len(thumbs), thumbs.shape[1] // 2
    return thumbs.reshape(count, size, 2, size, 2).mean(axis=(2, 4))


@cache
def dct_matrix(size: int) -> np.ndarray:
    """The orthonormal DCT-II, (size, size) float32."""
    k, x = np.arange(size)[:, None], np.arange(size)
    matrix = np.cos(np.pi * (x + 0.5) * k / size) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def codes(thumbs: np.ndarray) -> Codes:
    """Reduce thumbnails (N, 32, 32) to hashes and vectors; constant images get the vector 0.

    An inverted radiograph resembles the average one turned negative: it is turned back, and marked. The hash holds the
    signs of the vector's first 64 numbers, lowest frequency first.
    """
    ref, matrix = reference(), dct_matrix(COARSE)
    found = (matrix @ thumbs @ matrix.T)[:, ref.row, ref.column]
    length = np.linalg.norm(found, axis=1, keepdims=True)
    found = np.divide(found, length, out=np.zeros_like(found), where=length > 1e-6)
    inverted = found @ ref.mean < 0
    found = np.where(inverted[:, None], -found, found)
    vector = np.where(length > 1e-6, (found - ref.mean) / ref.deviation, 0)
    return Codes(_packed(vector[:, :BITS] > 0), _unit(vector), inverted)


def _packed(bits: np.ndarray) -> np.ndarray:
    """Pack (N, 64) bool into (N,) uint64."""
    packed: np.ndarray = np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64).ravel()
    return packed


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector, axis=1, keepdims=True)
    unit: np.ndarray = (vector / np.where(length > 0, length, 1)).astype(np.float32)
    return unit


def normalised(thumbs: np.ndarray) -> np.ndarray:
    """Take brightness and contrast out of thumbnails (N, s, s), place by place; returns float32.

    From each point the mean of its neighbourhood is taken, and the rest divided by the neighbourhood's deviation: what
    stays is the drawing, in which two patients differ, without the shape of a chest, which they share.
    """
    reach = NEIGHBOURHOOD[thumbs.shape[1]]
    flat = thumbs.astype(np.float64)
    flat = flat - flat.mean(axis=(1, 2), keepdims=True)
    deviation = flat.std(axis=(1, 2), keepdims=True)
    flat = flat / np.where(deviation > 1e-6, deviation, 1)
    detail = flat - _blurred(flat, reach)
    strength = np.sqrt(np.maximum(_blurred(detail * detail, reach), 0))
    drawing: np.ndarray = (detail / (strength + FAINT)).astype(np.float32)
    return drawing


def _blurred(images: np.ndarray, reach: int) -> np.ndarray:
    """Average over (2 reach + 1) squares, edges repeated."""
    width = 2 * reach + 1
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    total = np.pad(padded.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    sums = total[:, width:, width:] - total[:, :-width, width:] - total[:, width:, :-width] + total[:, :-width, :-width]
    averages: np.ndarray = sums / width**2
    return averages

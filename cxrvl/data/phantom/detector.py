"""How does a hospital's equipment turn attenuation into grey? Blur, quantum noise, window, frame."""

from dataclasses import dataclass

import numpy as np

from cxrvl.data.phantom.anatomy import Pose
from cxrvl.data.phantom.grid import Image


@dataclass(frozen=True)
class Equipment:
    """`blur` standard deviation in image widths; `noise` at mean attenuation, for 128 px; `level`, `width` of the
    window in attenuation; `frame` chance of a collimated border; `edges` strength of edge enhancement, 0 for none."""

    blur: float
    noise: float
    level: float
    width: float
    frame: float
    edges: float = 0.0


# A: a digital room with high contrast. B: storage plates read at the bedside, softer, noisier and paler. C: an old unit
# whose console flattens the picture and sharpens its edges.
EQUIPMENT = (
    Equipment(blur=0.0026, noise=0.012, level=0.77, width=0.215, frame=0.2),
    Equipment(blur=0.0056, noise=0.027, level=0.72, width=0.3, frame=0.55),
    Equipment(blur=0.0065, noise=0.017, level=0.66, width=0.36, frame=0.8, edges=1.8),
)
# How far edge enhancement looks, standard deviation in image widths.
_EDGE_REACH = 0.02


def develop(depth: Image, equipment: Equipment, pose: Pose, noise: Image) -> Image:
    """Turn attenuation (size, size) into grey in [0, 1] float32; `noise` of the same shape, mean 0, sd 1."""
    blurred = _blur(depth, equipment.blur * len(depth))
    # Fewer quanta pass through dense parts.
    grain = noise * np.maximum(blurred, 0.1) * np.float32(equipment.noise * (len(depth) / 128.0) ** 0.5)
    blurred += grain
    # Logistic film curve, 1 / (1 + exp(-z)).
    blurred -= equipment.level + pose.level
    blurred *= -1.0 / (equipment.width * pose.contrast)
    np.exp(blurred, out=blurred)
    blurred += 1.0
    grey: Image = np.reciprocal(blurred, out=blurred)
    if equipment.edges > 0:
        grey += np.float32(equipment.edges) * (grey - _blur(grey, _EDGE_REACH * len(grey)))
        np.clip(grey, 0.0, 1.0, out=grey)
    return grey


def _blur(depth: Image, sigma: float) -> Image:
    """Blur by a Gaussian's three-tap likeness (same variance), applied as often as it takes; sigma in pixels."""
    variance = sigma * sigma
    times = max(1, int(np.ceil(variance / 0.5)))
    share = np.float32(0.5 * variance / times)
    centre = np.float32(1.0) - 2 * share
    for _ in range(times):
        out = depth * centre
        out[1:] += share * depth[:-1]
        out[:-1] += share * depth[1:]
        out[0] += share * depth[0]
        out[-1] += share * depth[-1]
        depth = out
        out = depth * centre
        out[:, 1:] += share * depth[:, :-1]
        out[:, :-1] += share * depth[:, 1:]
        out[:, 0] += share * depth[:, 0]
        out[:, -1] += share * depth[:, -1]
        depth = out
    return depth


def quantum_noise(seed: int, index: int, size: int) -> Image:
    """Draw bell-shaped noise with mean 0 and standard deviation 1 from four bytes a pixel.

    Bytes of a counter-based generator, not its normal numbers: their rejection test could go another way elsewhere.
    """
    counter = np.random.Philox(key=(seed << 64) | index)
    words = counter.random_raw(size * size // 2 + 1).astype("<u8").view(np.uint8)[: size * size * 4]
    bits = words.reshape(4, size, size)
    total: Image = bits[0].astype(np.float32)
    for byte in bits[1:]:
        total += byte
    total -= 510.0
    total *= np.float32(1.0 / 147.8)
    return total

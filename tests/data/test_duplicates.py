"""Are copies of a radiograph found whatever was done to them, and different ones, even of one patient, left alone?"""

import numpy as np
import pytest
from copies import CHANGES, encoded, resized
from PIL import Image

from cxrvl.data.aspects import WHOLE, Squares, aspects, middles, reader
from cxrvl.data.duplicates import RADIUS, candidates, duplicates
from cxrvl.data.images import StoreSpec, prepare
from cxrvl.data.perceptual import frames, mirror_bits
from cxrvl.data.readers import read_image
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.store_pixels import to_pixels

SIZE = 160
COPIES = 24


def squares(pixels, middle=None):
    every = np.arange(len(pixels))
    return Squares(pixels, every, np.tile(WHOLE, (len(pixels), 1)) if middle is None else middle)


@pytest.fixture(scope="module")
def nih14(shared):
    """Every fifth image of the sample: pixels (N, S, S) uint8 and patients (N,)."""
    files = sorted((shared / "data/nih14/images").iterdir())[::5]
    spec = StoreSpec(SIZE)
    return np.stack([to_pixels(read_image(f), spec) for f in files]), [f.name.split("_")[0] for f in files]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_of_real_images_are_found_and_nothing_else(nih14, change):
    pixels, _ = nih14
    picked = np.linspace(0, len(pixels) - 1, COPIES).astype(int)
    copies = np.stack([CHANGES[change](pixels[i]) for i in picked])
    read, count = reader([squares(pixels), squares(copies)])
    found = duplicates(read, count, threads=1)
    expected = {(i, len(pixels) + k) for k, i in enumerate(picked)}
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs <= expected, "different pictures were taken for one"
    assert len(pairs) >= COPIES - 1
    assert found.mirrored.all() == (change == "mirror")
    assert found.inverted.all() == (change == "inversion")
    assert (np.diff(found.correlation) <= 0).all()


def test_a_middle_square_of_an_oblong_image_is_found(nih14):
    pixels, _ = nih14
    # Real images taken as 5:4 ones that were squashed; somebody else has cropped them to squares.
    sizes = np.tile([1250, 1000], (len(pixels), 1))
    middle = middles(sizes, np.tile([0.0, 0, 1, 1], (len(pixels), 1)))
    np.testing.assert_allclose(middle[0], [0, 1, 0.1, 0.9])
    edge = SIZE // 10
    copies = np.stack([encoded(resized(Image.fromarray(p[:, edge:-edge]), SIZE)) for p in pixels[:COPIES]])
    read, count = reader([squares(pixels, middle), squares(copies)])
    found = duplicates(read, count, threads=1)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs <= {(i, len(pixels) + i) for i in range(COPIES)}
    assert len(pairs) >= COPIES - 1


def test_a_known_overlap_of_two_public_sets(shared):
    """The Hannover images are in the other collection too, under the same names, cropped to squares."""
    parts, names = [], []
    for name in ("mhh_covid19", "covid_chestxray"):
        files = sorted((shared / "data" / name / "images").iterdir())
        images = [read_image(f) for f in files]
        sizes = np.array([image.shape[::-1] for image in images])
        pixels = np.stack([to_pixels(image, StoreSpec(SIZE)) for image in images])
        parts.append(squares(pixels, middles(sizes, np.tile([0.0, 0, 1, 1], (len(files), 1)))))
        names.append([f.name for f in files])
    read, count = reader(parts)
    found = duplicates(read, count, threads=1)
    first = len(names[0])
    across = [(i, j - first) for i, j in zip(found.first, found.second, strict=True) if i < first <= j]
    assert all(names[0][i] == names[1][j] for i, j in across)
    assert len(across) >= 0.9 * len(set(names[0]) & set(names[1]))


def test_candidates_are_all_pairs_within_the_radius():
    """The blockwise search equals the plain definition."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (150, 16, 16), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    pixels = np.concatenate([pixels, pixels[:40][:, :, ::-1], pixels[100:]])
    read, count = reader([squares(pixels)])
    found = aspects(read, count)
    first, second, mirrored = candidates(found, threads=2)
    close = {(i, j, bool(m)) for i, j, m in zip(first, second, mirrored, strict=True)}
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            for turned in (False, True):
                bits = found.hash[i] ^ found.hash[j] ^ (mirror_bits() if turned else np.uint64(0))
                if (i, j, turned) in close:
                    assert np.bitwise_count(bits) <= RADIUS
    assert {(i, 150 + i, True) for i in range(40)} <= close
    assert {(100 + i, 190 + i, False) for i in range(50)} <= close


def test_stores_of_other_sizes_and_depths_are_compared(tmp_path):
    parts = []
    for size, bits in ((96, 8), (128, 16)):
        source = PhantomSource(images=12, seed=3, size=192)
        table = source.table()
        store = prepare(source, table, StoreSpec(size, "squash", bits), tmp_path, workers=0, progress=False)
        parts.append(Squares.of(store, store.rows(table)))
    read, count = reader(parts)
    found = duplicates(read, count, threads=1)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert {(i, 12 + i) for i in range(12)} <= pairs


def test_frames_and_constant_images():
    pixels = np.full((3, 40, 40), 7, dtype=np.uint8)
    pixels[1, 5:35, 10:] = np.random.default_rng(0).integers(0, 256, (30, 30))
    pixels[2] = np.random.default_rng(1).integers(0, 256, (40, 40))
    assert frames(pixels).tolist() == [[0, 40, 0, 40], [5, 35, 10, 40], [0, 40, 0, 40]]
    blank = np.zeros((4, 40, 40), dtype=np.uint8)
    read, count = reader([squares(blank)])
    assert len(duplicates(read, count, threads=1)) == 0, "two blank images say nothing of one another"


def test_no_images():
    read, count = reader([squares(np.zeros((0, 8, 8), dtype=np.uint8))])
    with pytest.raises(ValueError, match="no images"):
        duplicates(read, count)

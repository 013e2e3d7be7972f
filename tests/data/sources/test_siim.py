"""Is SIIM-ACR read rightly: relative runs, boxes per connected part, both layouts, and every fault by row?"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from made_images import write_images, write_rows

from cxrvl.data.sources.run_lengths import component_boxes, decode_mask
from cxrvl.data.sources.siim import SIDE, SIIM
from cxrvl.errors import DataError

UID = "1.2.276.0.7230010.3.1.4.8323329.{}.1517875166.877735"
HEADER = "ImageId, EncodedPixels"


def encode(mask):
    """The challenge's encoding, written the slow way: walk down the columns."""
    numbers, gap, run = [], 0, 0
    for value in [*mask.T.ravel().tolist(), False]:
        if value:
            run += 1
        elif run:
            numbers += [gap, run]
            gap, run = 1, 0
        else:
            gap += 1
    return " ".join(map(str, numbers)) or "-1"


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def runs(x0, y0, x1, y1):
    """The runs of a rectangle: one per column."""
    height = y1 - y0
    return " ".join(f"{x0 * SIDE + y0 if x == x0 else SIDE - height} {height}" for x in range(x0, x1))


def write(root, rows, header=HEADER, file="train-rle.csv"):
    return write_rows(root / file, header, [f"{UID.format(number)}, {text}" for number, text in rows])


@pytest.fixture
def challenge(tmp_path):
    """Four images; the second has two masks, the third two separate parts in one."""
    two_parts = f"{runs(10, 20, 14, 30)} {(500 - 14) * SIDE + SIDE - 30 + 100} 5"
    rows = [(1, "-1"), (2, runs(0, 0, 4, 8)), (2, runs(2, 4, 6, 12)), (3, two_parts), (4, "-1")]
    write(tmp_path, rows)
    for number in (1, 2, 3, 4):
        folder = tmp_path / "dicom-images-train" / f"study{number}" / "series"
        folder.mkdir(parents=True)
        write_dicom(folder / f"{UID.format(number)}.dcm", np.full((4, 5), number * 100), bits=12)
    return tmp_path


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.data())
def test_decoding_inverts_encoding(height, width, data):
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits, dtype=bool).reshape(height, width)
    np.testing.assert_array_equal(decode_mask(encode(mask), height, width), mask)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_boxes_hold_all_pixels_and_touch_them(height, width, data):
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits, dtype=bool).reshape(height, width)
    boxes = component_boxes([mask])
    assert bool(boxes) == mask.any()
    covered = np.zeros_like(mask)
    for x0, y0, x1, y1 in boxes:
        rows, columns = slice(round(y0 * height), round(y1 * height)), slice(round(x0 * width), round(x1 * width))
        part = mask[rows, columns]
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()
        covered[rows, columns] = True
    assert not (mask & ~covered).any()


def test_pixels_run_down_the_columns():
    mask = decode_mask("1 2 2 1", 4, 3)  # column 0: rows 1 and 2; then two on, column 1: row 1
    assert np.argwhere(mask).tolist() == [[1, 0], [1, 1], [2, 0]]


def test_the_challenge_as_downloaded(challenge):
    table = SIIM(challenge).table()
    assert table.frame["image"].tolist() == [
        f"dicom-images-train/study{n}/series/{UID.format(n)}.dcm" for n in (1, 2, 3, 4)
    ]
    assert table.labels == ("Pneumothorax",)
    np.testing.assert_array_equal(table.targets()[:, 0], [0, 1, 1, 0])
    boxes = table.frame["boxes"].tolist()
    assert boxes[0] == boxes[3] == []
    assert boxes[1] == [("Pneumothorax", 0, 0, 6 / SIDE, 12 / SIDE)]  # two overlapping masks are one part
    assert boxes[2] == [
        ("Pneumothorax", 10 / SIDE, 20 / SIDE, 14 / SIDE, 30 / SIDE),
        ("Pneumothorax", 500 / SIDE, 100 / SIDE, 501 / SIDE, 105 / SIDE),
    ]
    assert SIIM(challenge).read(table.frame["image"][1]).shape == (4, 5)
    assert any("ChestX-ray14" in note for note in table.notes)


def test_stage_2_and_png_layout(tmp_path):
    write(tmp_path, [(1, "-1"), (2, runs(5, 5, 6, 6))], header="ImageId,EncodedPixels", file="stage_2_train.csv")
    write_images(tmp_path, [f"png/{UID.format(n)}.png" for n in (1, 2, 9)])
    table = SIIM(tmp_path).table()
    assert len(table) == 2
    assert any("1 images are not in stage_2_train.csv" in note for note in table.notes)
    write_images(tmp_path, [f"masks/{UID.format(1)}.png"])
    with pytest.raises(DataError, match=r"lies in two places, masks/.* and png/.*image_dirs"):
        SIIM(tmp_path).table()
    assert len(SIIM(tmp_path, image_dirs=["png"]).table()) == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" EncodedPixels", " Pixels", r"column 'EncodedPixels' is missing"),
        (" EncodedPixels", " ImageId", r"column 'ImageId' appears twice"),
        ("0 8 1016 8", "0 8 1016", r"row 2, .*'EncodedPixels': 7 numbers, expected pairs"),
        ("0 8 1016 8", "0 8 1016 x", r"row 2, .*expected whole numbers"),
        ("0 8 1016 8", "0 8 1016 -8", r"row 2, .*expected whole numbers"),
        ("0 8 1016 8", "0 8 1016 0", r"row 2, .*a run of length 0"),
        ("0 8 1016 8", "1048570 8 1016 8", r"row 2, .*the runs end at pixel 1.*expected at most 1024 x 1024"),
        ("0 8 1016 8", "99999999999999999999999 8 1016 8", r"row 2, .*expected whole numbers"),
        (" 0 8 1016 8 1016 8 1016 8", " -1", r"row 2: image '1.2.*' has -1 \(no pneumothorax\) and a second row"),
        (", -1", ", ", r"row 1, .*0 numbers, expected pairs"),
        (", -1", ", 2", r"row 1, .*1 numbers, expected pairs"),
        (".4.1517875166", ".5.1517875166", r"row 5, image '1.2.*: the file is not below the data root"),
        (UID.format(4), "../../etc", r"row 5, image '../../etc': .*may leave the root"),
        (UID.format(4), "dicom-images-train", r"row 5, image 'dicom-images-train': the image is a folder"),
    ],
)
def test_faults_name_file_and_row(challenge, old, new, words):
    path = challenge / "train-rle.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        SIIM(challenge).table()


def test_subset_keeps_what_is_on_disk(challenge):
    (challenge / f"dicom-images-train/study4/series/{UID.format(4)}.dcm").unlink()
    table = SIIM(challenge, subset=True).table()
    assert len(table) == 3
    assert "subset: 3 of 4 images of train-rle.csv are on disk" in table.notes


def test_the_full_table(tmp_path):
    """The real train-rle.csv, as the package torchxrayvision ships it, with an empty file for every image."""
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("torchxrayvision is not installed")
    full = Path(package.origin).parent / "data" / "siim-pneumothorax-train-rle.csv.gz"
    rows = gzip.decompress(full.read_bytes()).decode()
    (tmp_path / "train-rle.csv").write_text(rows)
    for name in {line.split(",")[0] for line in rows.splitlines()[1:]}:
        (tmp_path / f"{name}.dcm").touch()
    table = SIIM(tmp_path).table()
    boxes = table.frame["boxes"]
    assert len(table) == 12_047
    assert (table.targets() == 1).sum() == (boxes.str.len() > 0).sum() == 2_669
    assert boxes.str.len().sum() == 4_176

"""Does a damaged table ever get through, end in a traceback, or hang? Tables of four sources, mutated by hypothesis."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_sets import write_chexpert, write_mimic, write_padchest

from cxrvl.data.files import unsafe_key
from cxrvl.data.labels import CHEXPERT14
from cxrvl.data.sources.chexpert import CheXpert
from cxrvl.data.sources.manifest import Manifest
from cxrvl.data.sources.mimic_cxr import TABLES, MimicCXR
from cxrvl.data.sources.padchest import FILE, PadChest
from cxrvl.errors import DataError

MIMIC_FOLDER = "aaaa-01.jpg"


def manifest(root):
    columns = {
        "image": "Path",
        "patient": {"column": "Path", "pattern": r"(patient\d+)"},
        "split": {"column": "Path", "pattern": r"CheXpert-v1.0/(\w+)/"},
        "view": "AP/PA",
        "age": "Age",
    }
    options = {"columns": columns, "recode": {"split": {"valid": "val"}}, "split": None}
    return Manifest(root, file="all.csv", name="m", labels=["No Finding", "Cardiomegaly"], **options)


def write_manifest(root):
    """CheXpert's two tables as one, read through a mapping."""
    folder = write_chexpert(root / "CheXpert-v1.0", "CheXpert-v1.0")
    train, valid = ((folder / f"{part}.csv").read_text().splitlines() for part in ("train", "valid"))
    (root / "all.csv").write_text("\n".join([*train, *valid[1:]]) + "\n")


# Source -> how it is built, and file -> (columns that become paths, label columns, a value that names a folder).
SOURCES = {
    "chexpert": (
        CheXpert,
        {"train.csv": (["Path"], list(CHEXPERT14), "CheXpert-v1.0/train/patient00001/study1/folder.jpg")},
    ),
    "mimic_cxr": (
        MimicCXR,
        {
            TABLES["metadata"]: (["dicom_id", "subject_id", "study_id"], [], None),
            TABLES["split"]: (["dicom_id", "subject_id", "study_id"], ["split"], None),
            TABLES["chexpert"]: (["study_id"], list(CHEXPERT14), None),
        },
    ),
    "padchest": (PadChest, {FILE: (["ImageID", "ImageDir"], ["Labels"], "folder.png")}),
    "manifest": (
        manifest,
        {"all.csv": (["Path"], ["No Finding", "Cardiomegaly"], "CheXpert-v1.0/train/patient00001/study1")},
    ),
}
TABLE_LIST = [(source, file) for source, (_, files) in SOURCES.items() for file in files]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """One sound copy of each source's layout; a test writes one table anew and puts it back."""
    found = {name: tmp_path_factory.mktemp(name) for name in SOURCES}
    found["chexpert"] = write_chexpert(found["chexpert"] / "CheXpert-v1.0", "CheXpert-v1.0")
    (found["chexpert"] / "train/patient00001/study1/folder.jpg").mkdir()
    write_mimic(found["mimic_cxr"], "jpg")
    write_padchest(found["padchest"])
    for number in ("0", "14", "54"):
        (found["padchest"] / number / "folder.png").mkdir()
    write_manifest(found["manifest"])
    return found


def build(roots, source, file, content):
    """Build the table with this content of one file, and put the file back."""
    path = roots[source] / file
    sound = path.read_bytes()
    path.write_bytes(content)
    try:
        return SOURCES[source][0](roots[source]).table()
    finally:
        path.write_bytes(sound)


def rows_of(roots, source, file):
    return list(csv.reader(io.StringIO((roots[source] / file).read_text())))


def written(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def refused(roots, source, file, content, *words):
    with pytest.raises(DataError) as error:
        build(roots, source, file, content)
    message = str(error.value)
    assert "\n" not in message, message
    for word in (re.escape(file), *words):
        assert re.search(word, message), f"{word} is not in: {message}"


once = settings(
    max_examples=60, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
tables = st.sampled_from(TABLE_LIST)


def test_the_sound_tables_build(roots):
    for source, file in TABLE_LIST:
        assert len(build(roots, source, file, (roots[source] / file).read_bytes())) >= 4


@once
@given(table=tables, data=st.data())
def test_a_column_named_twice(roots, table, data):
    rows = rows_of(roots, *table)
    names = [i for i, name in enumerate(rows[0]) if name]
    first, second = data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True))
    rows[0][first] = rows[0][second]
    refused(roots, *table, written(rows).encode(), "appears twice")


@once
@given(table=tables, data=st.data())
def test_a_row_cut_off(roots, table, data):
    rows = rows_of(roots, *table)
    row = data.draw(st.integers(1, len(rows) - 1))
    rows[row] = rows[row][: data.draw(st.integers(1, len(rows[0]) - 1))]
    refused(
        roots, *table, written(rows).encode(), rf"row {row}: it ends after {len(rows[row])} of {len(rows[0])} fields"
    )


@once
@given(table=tables, data=st.data(), byte=st.sampled_from([b"\0", "é".encode("cp1252"), b"\xff", b"\x81"]))
def test_bytes_that_are_no_text(roots, table, data, byte):
    lines = (roots[table[0]] / table[1]).read_bytes().split(b"\n")
    line = data.draw(st.integers(0, len(lines) - 2))
    place = data.draw(st.integers(0, len(lines[line])))
    # At the very beginning of the file two of these could be read as another encoding's mark.
    place = max(place, 3) if line == 0 else place
    lines[line] = lines[line][:place] + byte + lines[line][place:]
    refused(roots, *table, b"\n".join(lines), rf"line {line + 1}[:,] .*(NUL|not UTF-8|as UTF-8)|line {line + 1}: a NUL")


@once
@given(table=tables, data=st.data(), value=st.sampled_from(["2", "-2", "1e9", "yes", "['2']"]))
def test_a_label_that_is_none(roots, table, data, value):
    labels = SOURCES[table[0]][1][table[1]][1]
    if not labels:
        return
    rows = rows_of(roots, *table)
    row, column = data.draw(st.integers(1, len(rows) - 1)), data.draw(st.sampled_from(labels))
    rows[row][rows[0].index(column)] = value
    refused(roots, *table, written(rows).encode(), rf"row {row}\b", f"{column}|label")


@once
@given(
    table=tables, data=st.data(), value=st.sampled_from(["../../etc", "/etc/passwd", "..", "a/../../b", "C:\\x", ""])
)
def test_a_path_that_leads_out(roots, table, data, value):
    rows = rows_of(roots, *table)
    row, column = (
        data.draw(st.integers(1, len(rows) - 1)),
        data.draw(st.sampled_from(SOURCES[table[0]][1][table[1]][0])),
    )
    rows[row][rows[0].index(column)] = value
    missing = table[1] == TABLES["split"] and column == "dicom_id"  # then the image it was is not listed any more
    refused(roots, *table, written(rows).encode(), "is not listed" if missing else rf"row {row}\b")


@once
@given(source=st.sampled_from(["chexpert", "padchest", "manifest"]), data=st.data())
def test_a_folder_as_image(roots, source, data):
    (file, (columns, _, folder)), *_ = SOURCES[source][1].items()
    rows = rows_of(roots, source, file)
    row = data.draw(st.integers(1, len(rows) - 1))
    if source != "padchest":  # whose patient stands in a column of its own
        row = 1
    rows[row][rows[0].index(columns[0])] = folder
    refused(roots, source, file, written(rows).encode(), rf"row {row}\b", "folder")


def test_a_folder_as_image_of_mimic_cxr(roots):
    image = next(roots["mimic_cxr"].rglob(MIMIC_FOLDER))
    image.unlink()
    image.mkdir()
    refused(
        roots,
        "mimic_cxr",
        TABLES["metadata"],
        (roots["mimic_cxr"] / TABLES["metadata"]).read_bytes(),
        "row 1",
        "folder",
    )
    image.rmdir()
    image.write_bytes(b"x")


BITS = [b",", b'"', b"\n", b"\r\n", b"\xef\xbb\xbf", b"nan", b",,,", b"1", b"inf", b"-", b"[", b"'"]


@settings(once, max_examples=300)
@given(
    table=tables,
    edits=st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 40),
            st.one_of(st.binary(max_size=6), st.sampled_from(BITS)),
        ),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_any_damage_is_refused_or_leaves_a_sound_table(roots, table, edits):
    content = (roots[table[0]] / table[1]).read_bytes()
    for place, length, inserted in edits:
        start = int(place * len(content))
        content = content[:start] + inserted + content[start + length :]
    try:
        built = build(roots, *table, content)
    except DataError as error:
        message = str(error)
        assert "\n" not in message
        assert table[1] in message or "train.csv" in message or "metadata.csv" in message, message
        return
    targets = built.targets()
    assert (np.isin(targets, [1, 0, -1]) | np.isnan(targets)).all()
    assert all(unsafe_key(key) is None for key in built.frame["image"])
    assert built.frame.groupby("patient")["split"].nunique().max() == 1
    assert (built.frame["bytes"] >= 0).all()

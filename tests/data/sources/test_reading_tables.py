"""Is a CSV read as written, and is what no sound CSV holds refused by line or row, without quoting it?"""

import gzip

import pandas as pd
import pytest

from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

SOUND = 'name,age,,note\nA,1,,"first,\nsecond"\n\nNA,,x,\n'


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_stays_text(tmp_path, mark, packed):
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    content = mark + SOUND.encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    frame = read_table(path)
    assert frame["name"].tolist() == ["A", "NA"]
    assert frame["age"].iloc[0] == "1"
    assert pd.isna(frame["age"].iloc[1])
    assert frame["note"].iloc[0] == "first,\nsecond"


def test_columns_without_a_name_may_be_left_out(tmp_path):
    """NIH's box list: its header ends in three commas, its rows may not."""
    path = tmp_path / "t.csv"
    path.write_text("a,b,,,\n1,2\n3,4,,,\n")
    assert read_table(path)["b"].tolist() == ["2", "4"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\nsecret\n", r"t.csv, row 2: it ends after 1 of 2 fields"),
        (b"a,b\n1,2\n\n\nsecret\n", r"row 2: it ends"),
        ("a,b\n1,2\n".encode("utf-16"), r"cannot be read as UTF-8 \(it is UTF-16\)"),
        (
            "a,b\n1,2\nsecret,é\n".encode("cp1252"),
            r"line 3: cannot be read as UTF-8 \(byte 0xe9, likely Windows' cp1252\)",
        ),
        (b"a,b\n1,2\nsecret,\xe2\x82", r"line 3: cannot be read as UTF-8"),
        (b"a,b\n1,\x002\n", "line 2: a NUL character"),
        (b'a,b\n1,2\n"secret,' + b"x" * 200_000, "row 2: field larger than field limit .*quotation mark"),
        (b'a,b\n1,2\n3,"secret\n', "cannot be read as a table"),
        (b"a,b, a\n1,2,3\n", "column 'a' appears twice"),
        (b"a\nsecret,2\n", "more fields than its header"),
        (b"", "cannot be read as a table"),
    ],
)
def test_faults_name_the_line_and_quote_nothing(tmp_path, content, words):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        read_table(path)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "t.csv.gz"
    sound = gzip.compress(SOUND.encode() * 5)
    flipped = [sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :] for place in range(10, len(sound), 3)]
    for content in (b"no archive", sound[:20], sound[:-6], *flipped):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"t.csv.gz"):
            read_table(path)

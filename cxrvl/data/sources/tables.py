"""How is a CSV or Parquet file of rows read without guessing? As text, with errors that name the file and the row."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.errors import DataError

# Byte order marks of encodings that are not UTF-8; Excel's "Unicode text" writes the first.
OTHER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
)  # what pandas' parser, gzip and pyarrow raise; theirs are ValueErrors


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV (plain or gzipped, UTF-8) with every field as text, or a Parquet file; the index counts data rows from 0.

    Header names lose surrounding blanks; empty CSV fields are NaN, no other text is ("NA" stays "NA").
    Raises DataError if the file is absent or broken, has two columns of one name or rows longer than its header; for a
    CSV also, naming the row, if one ends before the last named column or holds a NUL character, or if it is not UTF-8.
    """
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            check_names([str(name).strip() for name in frame.columns], path)
        else:
            check_rows(path)
            options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_values": [""]}
            frame = pd.read_csv(path, encoding="utf-8-sig", **options)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; set the path, or data.root") from error
    except BROKEN as error:
        raise DataError(f"{path}: cannot be read as a table ({one_line(error)}); expected CSV or Parquet") from error
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return frame.reset_index(drop=True)


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse two columns of one name: DataError names them."""
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {listing([repr(name) for name in twice])} appears twice; rename one")


def check_rows(path: Path) -> list[str]:
    """Read a CSV's rows once, one at a time, and return the header's names, "" where it names none.

    Refuses columns of one name, rows that are cut off, and rows longer than the header: pandas fills the rest of a cut
    row with empty fields, which would read as "not stated", and may take the first field of long ones for an index.
    Errors name the row, counted from 1 below the header, and never quote it: it may hold a patient's data.
    """
    opened: Any = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(_without_nul(stream, path))
            names = [name.strip() for name in next(reader, [])]
            check_names(names, path)
            needed = max((i + 1 for i, name in enumerate(names) if name), default=0)
            for length in map(len, reader):
                number += length > 0  # an empty line is no row
                if 0 < length < needed:
                    raise DataError(
                        f"{path}, row {number}: it ends after {length} of {needed} fields; the file was cut off or "
                        "damaged there: fetch it again, or mend the row"
                    )
                if length > max(len(names), 1):
                    raise DataError(
                        f"{path}, row {number}: it has more fields than its header ({length}, not {len(names)}); quote "
                        "the fields that contain a comma"
                    )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}{_where_not_utf8(path, opened)}; save the file as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{path}, row {number + 1}: {error}; a quotation mark is not closed, or the file is no CSV"
        ) from error
    return names


def _without_nul(stream: IO[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        if "\0" in line:
            raise DataError(f"{path}, line {number}: a NUL character; the file is damaged or no CSV: fetch it again")
        yield line


def _where_not_utf8(path: Path, opened: Any) -> str:
    """Name the first line that is not UTF-8, and the encoding it is likely in."""
    with opened(path, "rb") as stream:
        mark = OTHER_MARKS.get(stream.read(2))
        if mark:
            return f": cannot be read as UTF-8 (it is {mark})"
        stream.seek(0)
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return f", line {number}: cannot be read as UTF-8 (byte 0x{byte:02x}, likely Windows' cp1252)"
    return ": cannot be read as UTF-8 (it ends inside a character)"


def one_line(error: Exception) -> str:
    """Return an error's message without line breaks."""
    return " ".join(str(error).split())

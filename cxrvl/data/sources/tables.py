"""How is a CSV or Parquet file of rows read without guessing? As text, with errors that name the file."""

from pathlib import Path
from typing import Any

import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.errors import DataError


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV (plain or gzipped) with every field as text, or a Parquet file; the index counts data rows from 0.

    Header names lose surrounding blanks; empty CSV fields are NaN, no other text is ("NA" stays "NA").
    Raises DataError if the file is absent or broken, has two columns of one name, or rows longer than its header.
    """
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            names = [str(name).strip() for name in frame.columns]
        else:
            options: dict[str, Any] = {
                "dtype": str,
                "keep_default_na": False,
                "na_values": [""],
                "encoding": "utf-8-sig",
            }
            frame = pd.read_csv(path, **options)
            # pandas renames a second column of one name; the header itself says whether there is one.
            head = pd.read_csv(path, header=None, nrows=1, **options).iloc[0]
            names = [str(name).strip() for name in head.dropna()]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; set the path, or data.root") from error
    except (OSError, EOFError, ValueError) as error:  # the errors of pandas' parser and of pyarrow are ValueErrors
        raise DataError(f"{path}: cannot be read as a table ({error}); expected CSV or Parquet") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {listing([repr(name) for name in twice])} appears twice; rename one")
    if path.suffix != ".parquet" and not isinstance(frame.index, pd.RangeIndex):
        raise DataError(f"{path}: its rows have more fields than its header; quote the fields that contain a comma")
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return frame.reset_index(drop=True)

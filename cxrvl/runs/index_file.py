"""How does the index of the run store lie on the disk? One Parquet file: a row per run, a column per field."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cxrvl.files import write_atomic
from cxrvl.runs.fields import as_text

INDEX_VERSION = b"1"
"""Raised by hand whenever the fields change; an index of another version is made anew."""
_MARK = b"cxrvl_index"


class DamagedIndexError(Exception):
    """The index file cannot be used; it is made anew."""


class IndexFile:
    """An index as it lies on the disk; columns are read when they are asked for.

    Args:
        path: of the file.

    Raises:
        DamagedIndexError: the file is missing, damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise DamagedIndexError(str(error)) from error
        if (self._file.schema_arrow.metadata or {}).get(_MARK) != INDEX_VERSION:
            raise DamagedIndexError(f"{path} has another version")
        self.names = frozenset(self._file.schema_arrow.names) - {"run", "signature"}

    def signatures(self) -> tuple[list[str], list[bytes]]:
        """Return run ids and signatures, row by row."""
        table = self._read(["run", "signature"])
        return table["run"].to_pylist(), table["signature"].to_pylist()

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return the fields of these names, row by row; those no indexed run has are left out."""
        table = self._read([name for name in names if name in self.names])
        try:
            return {name: _values(table[name].combine_chunks()) for name in table.column_names}
        except ValueError as error:
            raise DamagedIndexError(str(error)) from error

    def whole(self, rows: Sequence[int]) -> pa.Table:
        """Return some of the rows with all their columns."""
        return self._read(None).take(pa.array(rows, pa.int64()))

    def _read(self, names: list[str] | None) -> pa.Table:
        try:
            return self._file.read(columns=names)
        except (OSError, pa.ArrowException) as error:
            raise DamagedIndexError(str(error)) from error


def write_index(path: Path, kept: pa.Table | None, new: Mapping[str, tuple[bytes, Mapping[str, Any]]]) -> None:
    """Replace the index.

    Args:
        path: of the file.
        kept: rows of the old index that still hold.
        new: signature and fields of the others, by run id.
    """
    fields = [content for _, content in new.values()]
    columns = {
        "run": pa.array(list(new), pa.string()),
        "signature": pa.array([sign for sign, _ in new.values()], pa.binary()),
    }
    for name in dict.fromkeys(name for content in fields for name in content):
        values = [content.get(name) for content in fields]
        columns[name] = pa.array(values, pa.float64()) if _is_number(name) else pa.array(map(as_text, values))
        if columns[name].type == pa.null():
            columns[name] = columns[name].cast(pa.string())
    table = pa.table(columns)
    if kept is not None:
        table = pa.concat_tables([kept, table], promote_options="default")
    table = table.replace_schema_metadata({_MARK: INDEX_VERSION})
    write_atomic(path, lambda file: pq.write_table(table, file, write_statistics=False, write_page_checksum=True))


def _is_number(name: str) -> bool:
    return name.startswith(("metric:", "folder:"))


def _values(column: pa.Array) -> list[Any]:
    if column.type != pa.string():
        return column.to_pylist()
    coded = column.dictionary_encode()
    meant = [None if text is None else json.loads(text) for text in coded.dictionary.to_pylist()]
    return [None if code is None else meant[code] for code in coded.indices.to_pylist()]

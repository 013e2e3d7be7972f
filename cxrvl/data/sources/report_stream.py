"""How is a file of a million reports read in little memory? In chunks, by the rules and the mapping of a data set."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cxrvl.data.sources.columns import Spec, values
from cxrvl.data.sources.report_columns import chosen_columns, fields_of
from cxrvl.data.sources.tables import BROKEN, check_names, check_rows, one_line
from cxrvl.errors import DataError

CHUNK = 4096


class Chunk(NamedTuple):
    """Some reports. sections: one column per section, NaN where empty; its index is the 0-based data row. ids: or None."""

    sections: pd.DataFrame
    ids: pd.Series | None


class ReportStream:
    """The reports of a CSV (plain or gzipped) or Parquet file, read again at every pass; memory holds one chunk.

    Opening it reads the file once, so that what is wrong with its last row is said before its first is embedded.

    Args:
        path: of the file; a Parquet file is read by row groups.
        given: section, or `study` -> column, as the user says; they go before all else.
        learnt: the same of a data set; taken where the file has its columns, else the file's own names.
        id_column: the column that names the reports; None = that of the mapping, or `study` or `id` where there is one.

    Attributes:
        columns: what is read. rows: number of reports. blank, repeated: reports without an id, or with that of an earlier.

    Raises:
        DataError: as `read_table`; no report; no column with report text, or not the ones named.
    """

    def __init__(
        self,
        path: Path,
        given: Mapping[str, str] | None = None,
        learnt: Mapping[str, Spec] | None = None,
        id_column: str | None = None,
    ) -> None:
        if not path.is_file():
            raise DataError(f"there is no file {path}")
        self.path = path
        try:
            self.names = _parquet_names(path) if path.suffix == ".parquet" else check_rows(path)
        except BROKEN as error:
            raise self._broken(error) from error
        self.columns = chosen_columns(path, self.names, given or {}, learnt or {}, id_column)
        self.rows = self.blank = self.repeated = 0
        self._survey()

    def chunks(self, size: int = CHUNK) -> Iterator[Chunk]:
        """Read up to so many reports at a time."""
        named, origin = self.columns, str(self.path)
        for raw in self._raw(size):
            parts = {section: values(raw, spec, origin) for section, spec in named.sections.items()}
            ids = None if named.identifier is None else values(raw, named.identifier, origin).fillna("")
            yield Chunk(pd.DataFrame(parts, index=raw.index), ids)

    def _raw(self, size: int) -> Iterator[pd.DataFrame]:
        try:
            yield from self._parquet(size) if self.path.suffix == ".parquet" else self._csv(size)
        except BROKEN as error:
            raise self._broken(error) from error

    def _csv(self, size: int) -> Iterator[pd.DataFrame]:
        with pd.read_csv(
            self.path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig", chunksize=size
        ) as reader:
            for frame in reader:
                yield frame.set_axis(pd.Index([str(name).strip() for name in frame.columns]), axis=1)

    def _parquet(self, size: int) -> Iterator[pd.DataFrame]:
        specs = [*self.columns.sections.values(), self.columns.identifier]
        needed = {field for spec in specs if spec is not None for field in fields_of(spec, self.path)}
        first = 0
        with pq.ParquetFile(self.path) as file:
            read = [name for name in file.schema_arrow.names if name.strip() in needed]
            for batch in file.iter_batches(size, columns=read):
                frame = batch.to_pandas(integer_object_nulls=True, ignore_metadata=True)
                frame.columns = pd.Index([name.strip() for name in frame.columns])
                yield frame.set_axis(pd.RangeIndex(first, first + len(frame)), axis=0)
                first += len(frame)

    def _survey(self) -> None:
        """Count the reports, and ids by their hashes: eight bytes each."""
        hashes = []
        for chunk in self.chunks():
            self.rows += len(chunk.sections)
            if chunk.ids is not None:
                ids = chunk.ids.to_numpy(dtype=object)
                there = ids != ""
                self.blank += int((~there).sum())
                hashes.append(pd.util.hash_array(ids[there], categorize=False))
        if hashes:
            found = np.concatenate(hashes)
            self.repeated = len(found) - len(np.unique(found))
        if not self.rows:
            raise DataError(f"{self.path}: the file holds no report")

    def _broken(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: cannot be read as a table ({one_line(error)}); expected CSV or Parquet")


def _parquet_names(path: Path) -> list[str]:
    names = [name.strip() for name in pq.read_schema(path).names]
    check_names(names, path)
    return names

"""How is a file of a million reports read in little memory? In chunks, by the rules and the mapping of a data set."""

import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cxrvl.data.checks import listing
from cxrvl.data.sources.columns import Spec, values
from cxrvl.data.sources.tables import BROKEN, check_names, check_rows, one_line
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import DataError

RESERVED = ("row", "embedding")
NAMED = ("study", *SECTIONS)
OWN_IDS = ("study", "id")
CHUNK = 4096


class Chunk(NamedTuple):
    """Some reports. sections: one column per section, NaN where empty; its index is the 0-based data row. ids: or None."""

    sections: pd.DataFrame
    ids: pd.Series | None


@dataclass(frozen=True)
class Columns:
    """Which columns are read.

    sections: section -> column, template or pattern, as in `Manifest`. whose: who says so, for messages.
    name, identifier: what the ids are called, and where they stand; None = reports are told by their row alone.
    """

    sections: Mapping[str, Spec]
    whose: str
    name: str | None = None
    identifier: Spec | None = None

    def __str__(self) -> str:
        read = ", ".join(f"{section} from {_shown(spec)}" for section, spec in self.sections.items())
        named = "no column names the reports" if self.identifier is None else f"named by {_shown(self.identifier)}"
        return f"{read} ({self.whose}); {named}"


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
        self.columns = _chosen(path, self.names, given or {}, learnt or {}, id_column)
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
        needed = {field for spec in specs if spec is not None for field in _fields(spec, self.path)}
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


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Read `report=text study=accession`: section, or study -> column.

    Raises:
        DataError: anything else, a name that is no section, one said twice, no section at all.
    """
    found: dict[str, str] = {}
    for word in words:
        name, _, column = word.partition("=")
        if name not in NAMED or not column or name in found:
            what = "is said twice" if name in found else f"is not one of {', '.join(NAMED)}, with =column behind it"
            raise DataError(f"--columns: {word!r} {what}; such as --columns report=text study=accession")
        found[name] = column
    if found and set(found) <= {"study"}:
        raise DataError(f"--columns names no report text; add one of {', '.join(SECTIONS)}, such as report=text")
    return found


def _chosen(
    path: Path, names: Sequence[str], given: Mapping[str, str], learnt: Mapping[str, Spec], id_column: str | None
) -> Columns:
    shown = listing([repr(name) for name in names], 40)
    if given:
        columns: Mapping[str, Spec] = given
        whose = "--columns"
        absent = _absent(given, names, path)
        if absent:
            raise DataError(f"{path}: there is no column {absent[0]!r}; found {shown}; correct --columns")
    else:
        sections = {name: spec for name, spec in learnt.items() if name in SECTIONS}
        absent = _absent(sections, names, path)
        if sections and not absent:
            columns, whose = learnt, "the run's data.source.columns"
        else:
            columns, whose = {name: name for name in SECTIONS if name in names}, "by their names"
            if not columns:
                asked = f"; the run's own mapping asks for {listing([repr(n) for n in absent], 9)}" if absent else ""
                raise DataError(
                    f"{path}: no column with report text; found {shown}, expected some of {', '.join(SECTIONS)}{asked}. "
                    "Say which column is what: --columns report=<column> study=<column>"
                )
    name, spec = _identifier(path, names, columns, given, id_column)
    return Columns({s: columns[s] for s in SECTIONS if s in columns}, whose, name, spec)


def _identifier(
    path: Path, names: Sequence[str], columns: Mapping[str, Spec], given: Mapping[str, str], id_column: str | None
) -> tuple[str | None, Spec | None]:
    """What the ids are called and where they stand."""
    if id_column is not None:
        if "study" in given:
            raise DataError("--id and --columns study=... both name the reports; give one of them")
        if id_column in RESERVED:
            raise DataError(
                f"--id {id_column}: the output has columns {' and '.join(RESERVED)} of its own; rename the column, or "
                f"read it as the study: --columns study={id_column} report=<column>"
            )
        if not id_column or id_column not in names:
            raise DataError(
                f"{path}: there is no column {id_column!r}; found {listing([repr(n) for n in names], 40)}; correct --id"
            )
        return id_column, id_column
    if "study" in columns and not _absent({"study": columns["study"]}, names, path):
        return "study", columns["study"]
    own = next((name for name in OWN_IDS if name in names), None)
    return own, own


def _absent(columns: Mapping[str, Spec], names: Sequence[str], path: Path) -> list[str]:
    """Columns that a mapping reads and the file lacks."""
    return [field for spec in columns.values() for field in _fields(spec, path) if field not in names]


def _fields(spec: Spec, path: Path) -> list[str]:
    """The columns that a column name, a template or a pattern reads."""
    if not isinstance(spec, str):
        return [spec["column"]]
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(spec) if field is not None]
    except ValueError as error:
        raise DataError(f"{path}: {spec!r} is no column and no template of columns ({error})") from error
    return fields or [spec]


def _parquet_names(path: Path) -> list[str]:
    names = [name.strip() for name in pq.read_schema(path).names]
    check_names(names, path)
    return names


def _shown(spec: Spec) -> str:
    return f"column {spec!r}" if isinstance(spec, str) else f"column {spec['column']!r}"

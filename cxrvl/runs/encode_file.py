"""How is a file of a million reports embedded in little memory, continued after a stop, and never written over?"""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrvl.data.sources.report_stream import CHUNK, Chunk, ReportStream
from cxrvl.data.store_lock import exclusive
from cxrvl.errors import DataError, RunError
from cxrvl.files import read_json, write_atomic, write_json
from cxrvl.runs.encode import SAMPLE, ReportEncoder

log = logging.getLogger("cxrvl")
ABOUT = "about.json"
_METADATA = b"cxrvl"
_MADE_BY = "cxrvl encode"
_LAYERS = "float32_layers"
_FORMAT = 2
"""Raised when embeddings are computed otherwise, so that parts of both do not end in one file."""


@dataclass(frozen=True)
class Encoded:
    """What was written.

    rows: reports with an embedding. empty: left out, as they say nothing. width: of a vector. cut: different texts that
    this call embedded without their end, as they have more tokens than the run reads. already: by an earlier call.
    """

    rows: int
    empty: int
    width: int
    cut: int
    already: bool = False


def check_out(source: Path, out: Path) -> None:
    """Refuse to write where something else lies.

    Raises:
        DataError: `out` is a folder or in none, the reports' own file, or a file that `cxrvl encode` did not write.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise DataError(f"--out: {out} is a folder" if out.is_dir() else f"--out: there is no folder {out.parent}")
    if not out.exists():
        return
    if source.exists() and out.samefile(source):
        raise DataError(f"--out: {out} is the file of the reports itself; name another file")
    if not _about_of(out):
        raise DataError(f"--out: {out} exists and was not written by {_MADE_BY}; name another file, or remove it")


def encode_file(
    encoder: ReportEncoder, reports: ReportStream, out: Path, skip_empty: bool = False, chunk: int = CHUNK
) -> Encoded:
    """Embed reports into a Parquet file: the id, the 0-based data row, and the embedding.

    What is done is kept beside `out` in parts; the same call after a stop continues there, and after its end finds it
    done. Memory holds one chunk.

    Args:
        out: see `check_out`.
        skip_empty: leave out reports that say nothing, instead of refusing the file.

    Raises:
        DataError: as `check_out`; a report that says nothing.
        RunError: the parts of another call lie there.
    """
    check_out(reports.path, out)
    about = {
        "made_by": _MADE_BY, "format": _FORMAT, "run": encoder.run.run_id, "weights": encoder.weights,
        "precision": encoder.precision, "reading": repr(encoder.reading), "instruction": encoder.reading.instruction,
        "source": _digest(reports.path), "columns": repr(reports.columns), "skip_empty": skip_empty, "chunk": chunk,
    }  # fmt: skip
    with exclusive(
        out.with_name(f".{out.name}.lock"), partial(log.warning, "another call writes %s: waiting for it", out)
    ):
        return _encode_parts(encoder, reports, out, about, skip_empty, chunk)


def _encode_parts(
    encoder: ReportEncoder, reports: ReportStream, out: Path, about: dict[str, Any], skip_empty: bool, chunk: int
) -> Encoded:
    """Write the parts that are not there, then all of them into one file."""
    if _same(_about_of(out), about):
        rows = pq.read_metadata(out).num_rows
        return Encoded(rows, reports.rows - rows, encoder.width, 0, already=True)
    parts, already = out.with_name(f"{out.name}.parts"), encoder.cut
    kept = _claim(parts, about)
    if encoder.precision == "bf16":
        sample = None if _LAYERS in kept else _sample(reports, chunk)
        about[_LAYERS] = encoder.settle(sample, kept.get(_LAYERS), str(reports.path))
        write_json(parts / ABOUT, about)
    rows = empty = 0
    paths = []
    for number, part in enumerate(reports.chunks(chunk)):
        path = parts / f"{number:06d}.parquet"
        paths.append(path)
        written = _rows_of(path, part, encoder.width, skip_empty) if path.is_file() else None
        if written is None:
            table = _embedded(encoder, part, reports, skip_empty)
            write_atomic(path, partial(_write_part, table))
            written = table.num_rows
            log.info("%s of %s reports embedded", int(part.sections.index[-1]) + 1, reports.rows)
        rows += written
        empty += len(part.sections) - written
    _join(paths, out, about)
    for path in paths:  # first these, so that a stop leaves a folder that the next call knows
        path.unlink()
    shutil.rmtree(parts)
    return Encoded(rows, empty, encoder.width, encoder.cut - already)


def _sample(reports: ReportStream, chunk: int) -> pd.DataFrame:
    """Some reports of the whole file, more than are compared, as some may say nothing."""
    wanted = np.unique(np.linspace(0, reports.rows - 1, 4 * SAMPLE).astype(int))
    frames = (part.sections for part in reports.chunks(chunk))
    return pd.concat([frame[frame.index.isin(wanted)] for frame in frames])


def _rows_of(path: Path, part: Chunk, width: int, skip_empty: bool) -> int | None:
    """Number of rows in a part that an earlier call wrote; None where it is damaged, so that it is written again."""
    try:
        table = pq.read_table(path)
        rows, vectors = table["row"].to_numpy(), table["embedding"].type
    except (OSError, KeyError, pa.ArrowException) as error:
        log.warning("%s is damaged (%s): its reports are embedded again", path, type(error).__name__)
        return None
    asked = part.sections.index.to_numpy()
    left = asked[np.isin(asked, rows)] if skip_empty else asked
    whole = np.array_equal(rows, left)
    if not whole or getattr(vectors, "list_size", None) != width:
        log.warning("%s holds other rows than its chunk: its reports are embedded again", path)
        return None
    return len(rows)


def _embedded(encoder: ReportEncoder, part: Chunk, reports: ReportStream, skip_empty: bool) -> pa.Table:
    there, vectors = encoder.encode(part.sections, str(reports.path))
    rows = part.sections.index.to_numpy()
    if not there.all() and not skip_empty:
        raise DataError(
            f"{reports.path}, row {int(rows[~there][0]) + 1}: nothing that the run's section policy "
            f"{encoder.reading.policy!r} asks for; leave such reports out with --skip-empty"
        )
    columns: dict[str, pa.Array] = {"row": pa.array(rows[there], pa.int64())}
    if part.ids is not None and reports.columns.name is not None:
        columns = {reports.columns.name: pa.array(part.ids.to_numpy(dtype=object)[there], pa.string()), **columns}
    flat = pa.array(vectors.reshape(-1), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, encoder.width)
    return pa.table(columns)


def _claim(parts: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Make the folder of the parts, or take it up again: where it is of this call, or holds no part yet.

    Returns:
        What an earlier call wrote of itself, with what it found out; {} where there was none.

    Raises:
        RunError: another call left its parts there, or it is no such folder.
    """
    path = parts / ABOUT
    if parts.exists():
        found = [file.name for file in parts.iterdir() if not file.name.startswith(".")] if parts.is_dir() else [""]
        if found and not path.is_file():
            raise RunError(f"{parts} is not a folder of {_MADE_BY}; remove it, or name another --out")
        kept = read_json(path) if path.is_file() else {}
        if _same(kept, about):
            return dict(kept)
        if any(name != ABOUT for name in found):
            raise RunError(f"{parts} holds the parts of another call (run, file or options differ); remove it, or name "
                           "another --out")  # fmt: skip
    parts.mkdir(parents=True, exist_ok=True)
    write_json(path, about)
    return {}


def _join(files: Sequence[Path], out: Path, about: dict[str, Any]) -> None:
    """Write the parts one after another into the file itself."""
    schema = pq.read_schema(files[0]).with_metadata({_METADATA: json.dumps(about, sort_keys=True).encode()})

    def write(file: Any) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for path in files:
                writer.write_table(pq.read_table(path).replace_schema_metadata(schema.metadata))

    write_atomic(out, write)


def _about_of(path: Path) -> dict[str, Any]:
    """What a file says of how it was written here; {} where there is none, or another's."""
    try:
        about = json.loads((pq.read_schema(path).metadata or {}).get(_METADATA, b"{}"))
    except (OSError, ValueError):  # no Parquet file, or another's words under that key
        return {}
    return about if isinstance(about, dict) and about.get("made_by") == _MADE_BY else {}


def _same(found: Any, about: dict[str, Any]) -> bool:
    """Whether an earlier call was the same, whatever it found out."""
    return isinstance(found, dict) and {key: value for key, value in found.items() if key != _LAYERS} == about


def _write_part(table: pa.Table, file: Any) -> None:
    pq.write_table(table, file, compression="zstd")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

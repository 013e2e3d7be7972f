"""How are a million reports embedded with a finished run, in little memory, and continued after a stop?"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cxrvl.data.reports.table import ReportTable
from cxrvl.data.reports.texts import READING_KEYS, Reading, Texts
from cxrvl.data.sources.mixture import by_name
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import DataError, RunError
from cxrvl.files import read_json, write_atomic, write_json
from cxrvl.runs.execute import use_weights
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_task, precision_of, quieten, set_up_process
from cxrvl.tasks.text import TextTask

log = logging.getLogger("cxrvl")
CHUNK = 4096
ABOUT = "about.json"


@dataclass(frozen=True)
class Encoded:
    """What was written. rows: reports with an embedding. empty: left out, as they say nothing. width: of a vector."""

    rows: int
    empty: int
    width: int


class ReportEncoder:
    """A finished text run, ready to embed reports.

    Args:
        run: a run that is done.
        dataset: whose reading (policy, cleaning, instruction) the reports get, where the run has several.

    Raises:
        RunError: the run is not finished, learnt no text, or has several readings and none was chosen.
    """

    def __init__(self, run: Run, dataset: str | None = None) -> None:
        quieten()
        if run.state() != "done":
            raise RunError(f"run {run.run_id} is {run.state()}; finish it first: cxrvl train with its overrides.yaml")
        config = run.config()
        set_up_process(config)
        self.run, self.config = run, config
        self.reading = reading_of(config, dataset)
        task = build_task(config, pretrained=False).eval()
        if not isinstance(task, TextTask):
            raise RunError(f"run {run.run_id} is of {config['task']['_target_']}, which embeds no texts")
        self.task = task
        self.weights = use_weights(run, config, task)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = precision_of(config)
        self.precision.convert_module(task)
        task.to(self.device)

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return self.task.encoder.width

    def encode(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Embed reports.

        Args:
            frame: one column per section, strings.

        Returns:
            (n,) bool which of them say anything, and the embeddings (m, D) float32 of those.
        """
        about = {"dataset": "csv", "study": [str(n) for n in range(len(frame))], "split": "test"}
        sections = {name: frame[name].to_numpy() for name in frame.columns}
        raw = pd.DataFrame({**about, **sections}).assign(patient=lambda f: f["study"])
        table = ReportTable.build(raw, (), split_name="csv", origin="reports")
        texts = Texts(table, {"csv": self.reading}, seed=0)
        there = ~texts.empty()
        joined = [texts.compose(int(row)) for row in np.flatnonzero(there)]
        if not joined:
            return there, np.empty((0, self.width), dtype=np.float32)
        batch = {"text": [one.text for one in joined], "body": torch.tensor([one.body for one in joined])}
        with torch.inference_mode(), self.precision.predict_step_context():
            embedding = self.task.predict_step(batch, 0).embedding
        return there, embedding.float().cpu().numpy()


def reading_of(config: Mapping[str, Any], dataset: str | None) -> Reading:
    """Return how a run reads reports.

    Raises:
        RunError: several ways, and the data set is not one of them.
    """
    text = config["data"].get("text") or {}
    if len(text) > 1 and dataset not in text:
        raise RunError(f"the run reads reports in {len(text)} ways; choose one with --dataset: {', '.join(text)}")
    name = dataset if dataset is not None and dataset in text else next(iter(text), "default")
    options = by_name(text, [name], "data.text", READING_KEYS) if text else {name: {}}
    return Reading(**options[name])


def encode_csv(
    encoder: ReportEncoder, source: Path, out: Path, id_column: str | None, skip_empty: bool, chunk: int = CHUNK
) -> Encoded:
    """Embed the reports of a CSV file into a Parquet file: the id, the 0-based data row, and the embedding.

    What is done is kept beside `out` in parts; the same call after a stop continues there. Memory holds one chunk.

    Args:
        source: one column per section (findings, impression, report, ...), one row per report.
        id_column: copied into the output; None = `study` or `id` where there is one.
        skip_empty: leave out reports that say nothing, instead of refusing the file.

    Raises:
        DataError: no such file, no section column, a report that says nothing.
        RunError: the parts of another call lie there.
    """
    if not source.is_file():
        raise DataError(f"there is no file {source}")
    parts = out.with_name(f"{out.name}.parts")
    about = {"run": encoder.run.run_id, "weights": encoder.weights, "source": _digest(source), "chunk": chunk,
             "id": id_column or "", "skip_empty": skip_empty, "reading": repr(encoder.reading)}  # fmt: skip
    _claim(parts, about)
    rows = empty = 0
    for number, frame in enumerate(_chunks(source, chunk)):
        path = parts / f"{number:06d}.parquet"
        if not path.is_file():
            table = _embedded(encoder, frame, id_column, number * chunk, skip_empty, source)
            write_atomic(path, partial(_write_part, table))
            log.info("%s reports embedded", number * chunk + len(frame))
        rows += pq.read_metadata(path).num_rows
        empty += len(frame) - pq.read_metadata(path).num_rows
    _join(parts, out, about)
    shutil.rmtree(parts)
    return Encoded(rows, empty, encoder.width)


def _chunks(source: Path, chunk: int) -> Iterator[pd.DataFrame]:
    try:
        yield from pd.read_csv(source, dtype=str, keep_default_na=False, chunksize=chunk)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{source} cannot be read as CSV: {' '.join(str(error).split())}") from error


def _embedded(
    encoder: ReportEncoder, frame: pd.DataFrame, id_column: str | None, first: int, skip_empty: bool, source: Path
) -> pa.Table:
    sections = [name for name in SECTIONS if name in frame.columns]
    if not sections:
        raise DataError(
            f"{source}: no column with report text; found {', '.join(map(str, frame.columns))}, expected some of "
            f"{', '.join(SECTIONS)}"
        )
    named = id_column or next((name for name in ("study", "id") if name in frame.columns), None)
    if named is not None and named not in frame.columns:
        raise DataError(f"{source}: there is no column {named!r}; found {', '.join(map(str, frame.columns))}")
    there, vectors = encoder.encode(frame[sections])
    if not there.all() and not skip_empty:
        row = int(np.flatnonzero(~there)[0]) + first
        raise DataError(
            f"{source}, line {row + 2}: nothing that the run's section policy {encoder.reading.policy!r} asks for; leave "
            "such reports out with --skip-empty"
        )
    kept = np.flatnonzero(there)
    columns: dict[str, pa.Array] = {"row": pa.array(kept + first, pa.int64())}
    if named is not None:
        columns = {named: pa.array(frame[named].to_numpy()[kept], pa.string()), **columns}
    flat = pa.array(vectors.reshape(-1), pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, encoder.width)
    return pa.table(columns)


def _claim(parts: Path, about: dict[str, Any]) -> None:
    """Make the folder of the parts, or take it up again; RunError where another call left it."""
    path = parts / ABOUT
    if path.is_file() and read_json(path) != about:
        raise RunError(f"{parts} holds the parts of another call (run, file or options differ); remove it, or name "
                       "another --out")  # fmt: skip
    parts.mkdir(parents=True, exist_ok=True)
    write_json(path, about)


def _join(parts: Path, out: Path, about: dict[str, Any]) -> None:
    """Write the parts one after another into the file itself."""
    files = sorted(parts.glob("*.parquet"))
    if not files:
        raise DataError("the file holds no report")
    schema = pq.read_schema(files[0]).with_metadata({b"cxrvl": json.dumps(about, sort_keys=True).encode()})

    def write(file: Any) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for path in files:
                writer.write_table(pq.read_table(path).replace_schema_metadata(schema.metadata))

    write_atomic(out, write)


def _write_part(table: pa.Table, file: Any) -> None:
    pq.write_table(table, file, compression="zstd")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

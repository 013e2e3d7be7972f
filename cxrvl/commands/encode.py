"""`cxrvl encode` and `cxrvl export`: a finished text run's embeddings of new reports, and the run as others read it."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cxrvl.commands.runs import run_store
from cxrvl.errors import DataError

if TYPE_CHECKING:
    from cxrvl.data.reports.texts import Reading

log = logging.getLogger("cxrvl")


def encode(options: argparse.Namespace) -> None:
    """Embed the reports of a file.

    Raises:
        ConfigError: --task names none that the run learnt with an instruction.
        DataError: no such file, columns that are not there, a report that says nothing, a file that is in the way.
        RunError: no such run, it is not finished, or it learnt no text.
    """
    from cxrvl.data.sources.report_columns import parse_columns
    from cxrvl.data.sources.report_stream import ReportStream
    from cxrvl.runs.encode import ReportEncoder
    from cxrvl.runs.encode_file import check_out, encode_file
    from cxrvl.runs.instructions import instruction_of, instructions_of

    source, out = Path(options.reports), Path(options.out)
    if not source.is_file():
        raise DataError(f"there is no file {source}")
    check_out(source, out)
    given = parse_columns(options.columns or [])
    run = run_store(options.runs).find(options.run)
    instruction = options.instruction
    if options.task is not None:
        instruction = instruction_of(options.task, instructions_of(run.config()), "--task")
    encoder = ReportEncoder(run, options.dataset, options.precision, instruction)
    reports = ReportStream(source, given, encoder.mapping, options.id)
    print(f"read: {reports.columns}")
    print(f"instruction before every report: {encoder.reading.instruction or 'none'}")
    if reports.blank or reports.repeated:
        log.warning(
            "%s: %d report(s) have no id, and %d have the id of an earlier one; the column `row` tells them apart",
            source, reports.blank, reports.repeated,
        )  # fmt: skip
    done = encode_file(encoder, reports, out, options.skip_empty)
    left = f", {done.empty} empty one(s) left out" if done.empty else ""
    if done.cut:
        left += f", {done.cut} different text(s) cut at {encoder.task.encoder.tokenize.max_length} tokens"
    embedded = "embedded already by the same call" if done.already else "embedded"
    print(f"{done.rows} report(s) {embedded}, {done.width} numbers each{left}: {out}")


def export(options: argparse.Namespace) -> None:
    """Write a finished text run as a folder that sentence-transformers opens.

    Raises:
        RunError: no such run, it is not finished, or the folder is not empty or a file.
    """
    from cxrvl.interop.sentence_transformers_folder import check_folder, write_sentence_transformers
    from cxrvl.runs.encode import ReportEncoder
    from cxrvl.runs.instructions import instructions_of

    check_folder(Path(options.out))
    encoder = ReportEncoder(run_store(options.runs).find(options.run), options.dataset)
    prompts = {"report": encoder.reading.instruction.strip()} if encoder.reading.instruction.strip() else {}
    prompts |= instructions_of(encoder.config)
    write_sentence_transformers(encoder.task.encoder, Path(options.out), prompts, _read_as(encoder.reading))
    print(f"written for sentence-transformers: {options.out}")


def _read_as(reading: "Reading") -> str:
    """How a run prepares its reports, in words."""
    return f"section policy `{reading.policy}`, cleaning {', '.join(reading.cleaning) or 'none'}"

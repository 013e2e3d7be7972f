"""`cxrvl encode` and `cxrvl export`: a finished text run's embeddings of new reports, and the run as others read it."""

import argparse
from pathlib import Path

from cxrvl.commands.runs import run_store
from cxrvl.errors import DataError


def encode(options: argparse.Namespace) -> None:
    """Embed the reports of a CSV file.

    Raises:
        DataError: no such file, or a report that says nothing.
        RunError: no such run, it is not finished, or it learnt no text.
    """
    from cxrvl.runs.encode import ReportEncoder, encode_csv

    source, out = Path(options.reports), Path(options.out)
    if not source.is_file():
        raise DataError(f"there is no file {source}")
    if not out.parent.is_dir() or out.is_dir():
        raise DataError(f"--out: {out} is a folder" if out.is_dir() else f"--out: there is no folder {out.parent}")
    encoder = ReportEncoder(run_store(options.runs).find(options.run), options.dataset)
    done = encode_csv(encoder, source, out, options.id, options.skip_empty)
    left = f", {done.empty} empty one(s) left out" if done.empty else ""
    print(f"{done.rows} report(s) embedded, {done.width} numbers each{left}: {out}")


def export(options: argparse.Namespace) -> None:
    """Write a finished text run as a folder that sentence-transformers opens.

    Raises:
        RunError: no such run, it is not finished, or the folder is not empty.
    """
    from cxrvl.interop.sentence_transformers_folder import write_sentence_transformers
    from cxrvl.runs.encode import ReportEncoder

    encoder = ReportEncoder(run_store(options.runs).find(options.run), options.dataset)
    prompts = {"report": encoder.reading.instruction.strip()} if encoder.reading.instruction.strip() else {}
    tasks = encoder.config["data"].get("tasks") or {}
    prompts |= {name: task["instruction"] for name, task in tasks.items() if task and task.get("instruction")}
    write_sentence_transformers(encoder.task.encoder, Path(options.out), prompts)
    print(f"written for sentence-transformers: {options.out}")

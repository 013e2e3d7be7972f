"""`cxrvl predict`: probabilities, and maps on request, for new files."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pandas as pd

from cxrvl.commands.runs import run_store
from cxrvl.errors import DataError, ImageError
from cxrvl.files import write_atomic

Item = TypeVar("Item")


def predict(options: argparse.Namespace) -> None:
    """Score files with a finished run and write one row per file.

    Raises:
        DataError: no such input.
        ImageError: more unreadable files than allowed.
        RunError: no such run, or it is not finished.
    """
    from cxrvl.runs.overlays import write_overlays
    from cxrvl.runs.predict import Prediction, Predictor, files_in, predict_all

    files = files_in(options.inputs)
    if options.out and not Path(options.out).parent.is_dir():
        raise DataError(f"--out: there is no folder {Path(options.out).parent}")
    for option, path, wrong in (("--out", options.out, Path.is_dir), ("--maps", options.maps, Path.is_file)):
        if path and wrong(Path(path)):
            raise DataError(f"{option}: {path} is a {'folder' if option == '--out' else 'file'}; name another path")
    predictor = Predictor(run_store(options.runs).find(options.run))
    left_out: list[ImageError] = []
    scored: Iterable[Prediction] = predict_all(predictor, files, left_out, options.max_unreadable)
    rows = []
    for number, one in enumerate(_shown(scored, len(files))):
        rows.append([str(one.file), *one.probability.tolist()])
        if options.maps:
            write_overlays(one, number, predictor.labels, Path(options.maps), predictor.reading)
    text = pd.DataFrame(rows, columns=["file", *predictor.labels]).to_csv(index=False, float_format="%.7g")
    if options.out:
        write_atomic(Path(options.out), lambda file: file.write(text.encode()))
        print(f"{len(rows)} file(s) scored: {options.out}")
    else:
        sys.stdout.write(text)
    for error in left_out:
        print(f"left out {error}", file=sys.stderr)


def _shown(items: Iterable[Item], total: int) -> Iterator[Item]:
    """Pass items through, with a bar on a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, "scoring", total, console=Console(stderr=True), transient=True)

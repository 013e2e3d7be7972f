"""`cxrvl predict`: probabilities, and maps on request, for new files."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from cxrvl.commands.runs import run_store
from cxrvl.errors import DataError
from cxrvl.files import write_atomic


def predict(options: argparse.Namespace) -> None:
    """Score files with a finished run and write one row per file.

    Raises:
        DataError: no such input.
        ImageError: more unreadable files than allowed.
        RunError: no such run, or it is not finished.
    """
    from cxrvl.runs.predict import Predictor, files_in, predict_all

    files = files_in(options.inputs)
    if options.out and not Path(options.out).parent.is_dir():
        raise DataError(f"--out: there is no folder {Path(options.out).parent}")
    predictor = Predictor(run_store(options.runs).find(options.run))
    done, broken = predict_all(predictor, files, options.max_unreadable)
    frame = pd.DataFrame([p.probability for p in done], columns=predictor.labels)
    frame.insert(0, "file", [str(p.file) for p in done])
    text = frame.to_csv(index=False)
    if options.out:
        write_atomic(Path(options.out), lambda file: file.write(text.encode()))
        print(f"{len(done)} file(s) scored: {options.out}")
    else:
        sys.stdout.write(text)
    if options.maps:
        from cxrvl.runs.overlays import write_overlays

        write_overlays(done, predictor.labels, Path(options.maps))
    for file, reason in broken:
        print(f"left out {file}: {reason}", file=sys.stderr)

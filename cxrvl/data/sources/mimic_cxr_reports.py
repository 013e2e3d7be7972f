"""What does a MIMIC-CXR study's report say? Read from a folder of texts, from the released zip, or from a CSV of sections."""

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns, listing
from cxrvl.data.reports.sections import parse_report
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

PARSED = ("findings", "impression", "indication", "comparison", "technique", "report")
# Columns of the CSV that MIMIC-CXR's own section script writes, and of its descendants. The last paragraph is what
# stands in reports without a findings or impression header.
CSV_COLUMNS = {
    "findings": "findings",
    "impression": "impression",
    "indication": "indication",
    "history": "indication",
    "comparison": "comparison",
    "technique": "technique",
    "examination": "technique",
    "last_paragraph": "report",
    "report": "report",
}
# Released reports are below 20 kB; what is far larger is no report and may not fit into memory.
MOST_BYTES = 1_000_000


def add_reports(frame: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the sections of each image's study, "" where there are none, and note how many studies have no report.

    frame: columns subject and number (the bare ids of patient and study); path: a folder, a .zip, or a CSV.
    Sections are `PARSED`; `report` is the text of a report without headers. Images of a study share its text.
    Raises DataError if the place cannot be read, holds none of the reports, or one is no UTF-8 text.
    """
    studies = frame.drop_duplicates("number")[["subject", "number"]]
    if path.is_dir():
        sections = _parsed(studies, _folder_reader(path), path)
    elif path.suffix == ".zip":
        sections = _zipped(studies, path)
    else:
        sections = _tabled(studies, path)
    silent = (sections == "").all(axis=1).to_numpy()
    if silent.all():
        raise DataError(
            f"{path}: it holds none of the reports of {len(studies)} studies (looked for p{_folder(studies, 0)} first); "
            "expected files/p10/p10000032/s50414267.txt in a folder or zip, or a CSV with the column study"
        )
    position = pd.Index(studies["number"]).get_indexer(pd.Index(frame["number"]))
    columns = {name: sections[name].to_numpy(dtype=object)[position] for name in sections.columns}
    if not silent.any():
        return frame.assign(**columns), ()
    note = (
        f"{path.name}: {int(silent.sum())} of {len(studies)} studies ({int(silent[position].sum())} images) "
        "have no report text"
    )
    return frame.assign(**columns), (note,)


def _folder(studies: pd.DataFrame, row: int) -> str:
    subject, number = studies["subject"].iloc[row], studies["number"].iloc[row]
    return f"{subject[:2]}/p{subject}/s{number}.txt"


def _parsed(studies: pd.DataFrame, read: Callable[[str], bytes | None], path: Path) -> pd.DataFrame:
    """Parse one report per study; `read` returns a report's bytes by its place below files/, None where it is absent."""
    rows = []
    for row in range(len(studies)):
        place = f"p{_folder(studies, row)}"
        raw = read(place)
        if raw is None:
            rows.append(("",) * len(PARSED))
            continue
        try:
            report = parse_report(raw.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, report {place}: not UTF-8 at byte {error.start} (0x{raw[error.start]:02x}, likely Windows' "
                "cp1252); save it as UTF-8"
            ) from error
        whole = "" if report.sectioned else report.text.strip()
        rows.append((*(report.section(name) for name in PARSED[:-1]), whole))
    return pd.DataFrame(rows, columns=list(PARSED), dtype=object)


def _folder_reader(path: Path) -> Callable[[str], bytes | None]:
    inner = path / "files"
    base = inner if inner.is_dir() else path

    def read(place: str) -> bytes | None:
        file = base / place
        try:
            if file.stat().st_size > MOST_BYTES:
                raise _too_large(path, place)
            return file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path}, report {place}: cannot be read ({error.strerror})") from error

    return read


def _zipped(studies: pd.DataFrame, path: Path) -> pd.DataFrame:
    try:
        with zipfile.ZipFile(path) as archive:
            # The archive's own folder differs between releases: files/p10/... and mimic-cxr-reports/files/p10/...
            entries = {"/".join(entry.filename.split("/")[-3:]): entry for entry in archive.infolist()}

            def read(place: str) -> bytes | None:
                entry = entries.get(place)
                if entry is None:
                    return None
                if entry.file_size > MOST_BYTES:
                    raise _too_large(path, place)
                return archive.read(entry)

            return _parsed(studies, read, path)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot be read as a zip ({error}); fetch mimic-cxr-reports.zip again") from error


def _too_large(path: Path, place: str) -> DataError:
    return DataError(f"{path}, report {place}: it is larger than {MOST_BYTES:,} bytes, so it is no report; remove it")


def _tabled(studies: pd.DataFrame, path: Path) -> pd.DataFrame:
    raw = read_table(path)
    key = next((name for name in ("study", "study_id") if name in raw), "study")
    check_columns(raw, (key,), str(path))
    columns = [name for name in CSV_COLUMNS if name in raw]
    if not columns:
        raise DataError(
            f"{path}: no column of sections; found {listing([repr(str(name)) for name in raw.columns], 20)}, "
            f"expected some of {', '.join(CSV_COLUMNS)}"
        )
    numbers = raw[key].fillna("").str.strip().str.replace(r"^s(?=[0-9])", "", regex=True)
    for bad, what in (
        (~numbers.str.fullmatch(r"[0-9]+").to_numpy(dtype=bool), "a study such as s50414267"),
        (numbers.duplicated().to_numpy(), "every study once"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{path}, row {row + 1}, column {key!r}: found {raw[key].iloc[row]!r}, expected {what} "
                f"({int(bad.sum())} such rows)"
            )
    position = pd.Index(numbers).get_indexer(pd.Index(studies["number"]))
    sections: dict[str, np.ndarray] = {}
    for name in columns:
        text = raw[name].fillna("").str.strip().to_numpy(dtype=object)
        found = np.where(position >= 0, text[position], "")
        target = CSV_COLUMNS[name]
        # The first column that says something counts: the indication before the history.
        sections[target] = np.where(sections[target] != "", sections[target], found) if target in sections else found
    return pd.DataFrame(sections, dtype=object)

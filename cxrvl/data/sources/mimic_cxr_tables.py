"""What stands in the tables of MIMIC-CXR-JPG? Images, views, official split and labels, joined without a row's loss."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns
from cxrvl.data.fingerprints import digest
from cxrvl.data.labels import map_labels
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

SPLITS = {"train": "train", "validate": "val", "test": "test"}
VIEWS = {"AP": "AP", "PA": "PA", "LATERAL": "L", "LL": "L", "RL": "L"}
"""ViewPosition -> view; what else is written there (oblique and others) is kept as it is."""
PATIENT_DIGITS = 8
METADATA = ("dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns")


def metadata_rows(path: Path, suffix: str) -> pd.DataFrame:
    """Read the metadata table: one row per image.

    suffix: ending of the image files. Returns image (key), patient, study, view, position (the view as written),
    width, height, and the bare ids `dicom`, `subject` and `number` for joins; the index holds the file's data rows.
    Raises DataError naming the row for ids that are no numbers (they become folder names) and a file name with a slash.
    """
    raw = read_table(path)
    check_columns(raw, METADATA, str(path))
    subject, study = (_ids(raw, name, path) for name in ("subject_id", "study_id"))
    short = np.flatnonzero((subject.str.len() != PATIENT_DIGITS).to_numpy())
    if short.size:
        raise _wrong(raw, "subject_id", int(short[0]), path, f"a number of {PATIENT_DIGITS} digits", short.size)
    dicom = raw["dicom_id"].fillna("").str.strip()
    odd = np.flatnonzero(~dicom.str.fullmatch(r"[\w.-]*\w").to_numpy(dtype=bool))
    if odd.size:
        raise _wrong(raw, "dicom_id", int(odd[0]), path, "the name of a file", odd.size)
    position = raw["ViewPosition"].fillna("").str.strip()
    folder = "files/p" + subject.str[:2] + "/p" + subject
    return pd.DataFrame(
        {
            "image": folder + "/s" + study + "/" + dicom + suffix,
            "patient": "p" + subject,
            "study": "s" + study,
            "view": position.replace(VIEWS),
            "position": position,
            "width": raw["Columns"],
            "height": raw["Rows"],
            "dicom": dicom,
            "subject": subject,
            "number": study,
        }
    )


def official_split(frame: pd.DataFrame, path: Path, metadata: Path) -> tuple[np.ndarray, str]:
    """Return the official split (N,) of the metadata's rows, and the SHA-256 of the table's images and splits.

    Raises DataError for an image of the metadata that is not listed, and, naming the row, for a split other than train,
    validate and test, an image listed twice, and one that the two tables give to different patients or studies.
    """
    raw = read_table(path)
    check_columns(raw, ("dicom_id", "study_id", "subject_id", "split"), str(path))
    names = raw["split"].fillna("").str.strip()
    unknown = np.flatnonzero(~names.isin(list(SPLITS)).to_numpy())
    if unknown.size:
        raise _wrong(raw, "split", int(unknown[0]), path, ", ".join(SPLITS), unknown.size)
    keys = raw["dicom_id"].fillna("").str.strip()
    twice = np.flatnonzero(keys.duplicated().to_numpy())
    if twice.size:
        raise _wrong(raw, "dicom_id", int(twice[0]), path, "every image once", twice.size)
    wanted = frame["dicom"]
    position = pd.Index(keys).get_indexer(pd.Index(wanted))
    unlisted = np.flatnonzero(position < 0)
    if unlisted.size:
        row = int(frame.index[int(unlisted[0])]) + 1
        raise DataError(
            f"{path}: image {wanted.iloc[int(unlisted[0])]!r} of {metadata.name} (row {row}) is not listed "
            f"({unlisted.size} such images); give the tables of one release"
        )
    for column, ids in (("subject_id", frame["subject"]), ("study_id", frame["number"])):
        other = _ids(raw, column, path).to_numpy()[position]
        differs = np.flatnonzero(ids.to_numpy() != other)
        if differs.size:
            first = int(differs[0])
            raise DataError(
                f"{path}, row {int(position[first]) + 1}, column {column!r}: found {other[first]!r} for image "
                f"{wanted.iloc[first]!r}, which {metadata.name} (row {int(frame.index[first]) + 1}) gives to "
                f"{ids.iloc[first]!r} ({differs.size} such images); give the tables of one release"
            )
    ordered = keys.argsort().to_numpy()
    split = names.map(SPLITS).to_numpy(dtype=object)
    return split[position], digest(keys.to_numpy(dtype=object)[ordered], split[ordered])


def label_rows(
    frame: pd.DataFrame, path: Path, label_map: Mapping[str, str | None]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read the labels of each image's study.

    Returns (N, labels) float32 under vocabulary names with the index of `frame`, NaN for studies that the table does
    not list (eight in the release), and a note that counts these.
    """
    raw = read_table(path)
    check_columns(raw, ("subject_id", "study_id", *label_map), str(path))
    studies = _ids(raw, "study_id", path)
    twice = np.flatnonzero(studies.duplicated().to_numpy())
    if twice.size:
        raise _wrong(raw, "study_id", int(twice[0]), path, "every study once", twice.size)
    mapped = map_labels(raw[list(label_map)], label_map, str(path))
    position = pd.Index(studies).get_indexer(pd.Index(frame["number"]))
    there = position >= 0
    if not there.any():
        raise DataError(
            f"{path}: it lists none of the {frame['number'].nunique()} studies; give the tables of one release"
        )
    values = np.where(there[:, None], mapped.to_numpy(dtype=np.float32)[position], np.float32(np.nan))
    labelled = pd.DataFrame(values, index=frame.index, columns=mapped.columns)
    if there.all():
        return labelled, ()
    unlisted = frame["number"][~there]
    note = f"{path.name}: {unlisted.nunique()} studies ({len(unlisted)} images) are not listed and have no labels"
    return labelled, (note,)


def _ids(raw: pd.DataFrame, column: str, path: Path) -> pd.Series:
    ids = raw[column].fillna("").str.strip()
    bad = np.flatnonzero(~ids.str.fullmatch(r"[0-9]+").to_numpy(dtype=bool))
    if bad.size:
        raise _wrong(raw, column, int(bad[0]), path, "a number", bad.size)
    return ids


def _wrong(raw: pd.DataFrame, column: str, row: int, path: Path, expected: str, count: int) -> DataError:
    return DataError(
        f"{path}, row {row + 1}, column {column!r}: found {raw[column].iloc[row]!r}, expected {expected} "
        f"({count} such rows); use the released table"
    )

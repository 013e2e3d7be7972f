"""Who is in training, validation and test? Patient-disjoint splits, and the files that fix them."""

import gzip
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import SPLIT_NAMES, SPLITS, listing
from cxrvl.data.fingerprints import digest
from cxrvl.errors import DataError
from cxrvl.files import write_atomic

# Optional columns of a split file, and what may stand in them; an empty field says that the row has none.
PARTS = {
    "fold": ("a whole number from 0", re.compile(r"\d+")),
    "fraction": ("a share such as 0.05", re.compile(r"0?\.\d*[1-9]\d*|1|1\.0*")),
    "labelled": ("0 or 1", re.compile(r"[01]")),
}


@dataclass(frozen=True)
class SplitAssignment:
    """Split of each image or patient, as read from files.

    by: "image" or "patient"; split: key -> split name; sha256: of the sorted (key, split) pairs, and of `parts`, so that
    neither the order of lines nor line ends matter; origin: the file or files, for messages.
    parts: column -> key -> what is written, for the columns of `PARTS` that the file has.
    """

    by: str
    split: Mapping[str, str]
    sha256: str
    origin: str
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def apply(self, keys: Sequence[str]) -> np.ndarray:
        """Split names (N,) object of N image names or patients; "" where the files do not list one."""
        return np.array([self.split.get(key, "") for key in keys], dtype=object)


def assignment(
    by: str, split: Mapping[str, str], origin: str, parts: Mapping[str, Mapping[str, str]] | None = None
) -> SplitAssignment:
    """Make an assignment of key -> split name, checked for unknown split names and for what `parts` may hold."""
    bad = [(key, name) for key, name in split.items() if name not in SPLIT_NAMES]
    if bad:
        raise DataError(
            f"{origin}: {by} {bad[0][0]!r} is in split {bad[0][1]!r}, expected one of {', '.join(SPLIT_NAMES)}"
        )
    keys = sorted(split)
    columns = [[split[key] for key in keys]]
    for name, values in (parts or {}).items():
        expected, pattern = PARTS[name]
        wrong = [key for key in keys if values[key] and not pattern.fullmatch(values[key])]
        if wrong:
            raise DataError(f"{origin}: {by} {wrong[0]!r} has {name} {values[wrong[0]]!r}, expected {expected}")
        columns.append([name, *(values[key] for key in keys)])
    return SplitAssignment(by, split, digest(keys, *columns), origin, parts or {})


def read_list(path: Path) -> list[str]:
    """Read one list of images, plain or gzipped: the first word of each line (CheXNet's lists carry labels behind it).

    Raises DataError if the file cannot be read, is empty, or names an image twice.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"split list {path}: cannot be read ({error}); give the published list file") from error
    names = [line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip()]
    if not names:
        raise DataError(f"split list {path}: it is empty; expected one image name per line")
    if len(set(names)) < len(names):
        twice = str(pd.Series(names)[pd.Series(names).duplicated()].iloc[0])
        raise DataError(f"split list {path}: image {twice!r} is listed twice; remove the second line")
    return names


def read_lists(lists: Mapping[str, Path]) -> SplitAssignment:
    """Read one list file per split; DataError if an image is in two lists."""
    split: dict[str, str] = {}
    for name, path in lists.items():
        images = read_list(path)
        again = [image for image in images if image in split]
        if again:
            raise DataError(
                f"split list {path}: image {again[0]!r} is in {split[again[0]]!r} as well ({len(again)} such images); "
                "an image may be in one list only"
            )
        split.update(dict.fromkeys(images, name))
    return assignment("image", split, " + ".join(path.name for path in lists.values()))


def read_split_file(path: Path) -> SplitAssignment:
    """Read a CSV with the columns `image,split` or `patient,split` and any of `PARTS`, as `cxrvl split` writes it.

    Raises DataError naming the column or row at fault.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"split file {path}: cannot be read ({error})") from error
    by = [name for name in ("image", "patient") if name in frame]
    if len(by) != 1 or "split" not in frame:
        raise DataError(
            f"split file {path}: found the columns {listing(list(frame.columns), 10)}; expected image,split or patient,split"
        )
    keys = frame[by[0]]
    twice = np.flatnonzero(keys.duplicated().to_numpy())
    if twice.size:
        raise DataError(
            f"split file {path}, row {int(twice[0]) + 1}: {by[0]} {keys.iloc[int(twice[0])]!r} is listed twice"
        )
    parts = {name: dict(zip(keys, frame[name], strict=True)) for name in PARTS if name in frame}
    return assignment(by[0], dict(zip(keys, frame["split"], strict=True)), str(path), parts)


def write_split_file(
    path: Path,
    keys: Sequence[str],
    split: Sequence[str],
    by: str = "image",
    parts: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Write a split as CSV (`image,split` or `patient,split`), sorted by key, at once or not at all; return its SHA-256.

    keys may repeat (patients with several images) as long as the split agrees; DataError if it does not.
    parts: further columns, named in `PARTS`; a key has the value of its first row.
    """
    result = planned_split(path, keys, split, by, parts)
    ordered = sorted(result.split)
    frame = pd.DataFrame({by: ordered, "split": [result.split[key] for key in ordered]})
    for name, values in result.parts.items():
        frame[name] = [values[key] for key in ordered]
    write_atomic(path, lambda file: frame.to_csv(file, index=False, lineterminator="\n"))
    return result.sha256


def planned_split(
    path: Path,
    keys: Sequence[str],
    split: Sequence[str],
    by: str = "image",
    parts: Mapping[str, Sequence[str]] | None = None,
) -> SplitAssignment:
    """What `write_split_file` would write."""
    if by not in ("image", "patient"):
        raise DataError(f"split file {path}: by is {by!r}, expected 'image' or 'patient'")
    chosen: dict[str, str] = {}
    for key, name in zip(keys, split, strict=True):
        if chosen.setdefault(key, name) != name:
            raise DataError(f"split file {path}: {by} {key!r} is in {chosen[key]!r} and in {name!r}")
    ordered = {name: dict(reversed(list(zip(keys, values, strict=True)))) for name, values in (parts or {}).items()}
    return assignment(by, chosen, str(path), ordered)


def patient_draw(patients: Sequence[str], salt: str) -> np.ndarray:
    """One number (N,) float64 in [0, 1) per row: a pure hash of salt and patient, the same whatever else is in the table."""
    distinct = dict.fromkeys(patients, 0.0)
    for patient in distinct:
        word = hashlib.sha256(f"{salt}\0{patient}".encode()).digest()[:8]
        distinct[patient] = (int.from_bytes(word, "big") >> 11) / 2.0**53
    return np.array([distinct[patient] for patient in patients], dtype=np.float64)


def split_by_patient(
    patients: Sequence[str],
    fractions: Mapping[str, float],
    seed: int,
    positives: np.ndarray | None = None,
) -> np.ndarray:
    """Draw a patient-disjoint split.

    patients: N names; fractions: split name -> share of patients, summing to 1; seed: another seed, another split.
    positives: (N, L) bool, optional: stratify. Patients are grouped by their rarest positive finding and the shares
    are cut out of each group in hash order, so that rare findings reach every split.
    Returns (N,) object split names. Without `positives` a patient's split depends on nothing but name and seed: it
    stays when data are added. Stratified splits may move patients then, and should be written to a file.
    """
    wrong = [name for name in fractions if name not in SPLITS]
    total = sum(fractions.values())
    if wrong or not fractions or abs(total - 1) > 1e-6 or min(fractions.values()) < 0:
        raise DataError(
            f"split fractions {dict(fractions)}: expected shares of {', '.join(SPLITS)}, none negative, with sum 1 "
            f"(found {total:g})"
        )
    draw = patient_draw(patients, f"cxrvl split {seed}")
    if positives is not None:
        draw = _rank_in_strata(patients, draw, positives)
    # In one order, whatever that of the mapping: a config written to JSON and read again has its keys sorted.
    names = np.array([name for name in SPLITS if name in fractions], dtype=object)
    edges = np.cumsum([fractions[name] for name in names])[:-1]
    return names[np.searchsorted(edges, draw, side="right")]


def _rank_in_strata(patients: Sequence[str], draw: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Replace hash numbers by the patient's mid-rank in [0, 1) within its stratum: shares become exact per stratum."""
    codes, persons = pd.factorize(np.asarray(patients, dtype=object))
    person_positive = np.zeros((len(persons), positives.shape[1]), dtype=bool)
    np.logical_or.at(person_positive, codes, positives.astype(bool))
    counts = person_positive.sum(axis=0)
    rarest_first = np.argsort(counts, kind="stable")
    ordered = person_positive[:, rarest_first]
    stratum = np.where(ordered.any(axis=1), ordered.argmax(axis=1), positives.shape[1])
    person_draw = np.zeros(len(persons))
    person_draw[codes] = draw
    rank = np.zeros(len(persons))
    for group in np.unique(stratum):
        members = np.flatnonzero(stratum == group)
        order = members[np.argsort(person_draw[members], kind="stable")]
        rank[order] = (np.arange(members.size) + 0.5) / members.size
    return rank[codes]

"""Which findings does a row state? Vocabularies and the ways tables write them down."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxrvl.data.checks import LABEL_VALUES
from cxrvl.errors import DataError

# The usual CheXNet order, also that of ACM's outputs (papers: ACM, released code of cxr14).
CHESTXRAY14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"

# The order of the columns in CheXpert's train.csv (Irvin et al., AAAI 2019).
CHEXPERT14 = (
    NO_FINDING,
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
# The one vocabulary all sources map into, so that several of them mix; CheXpert's "Pleural Effusion" is "Effusion" here.
VOCABULARY = (
    *CHESTXRAY14,
    "Enlarged Cardiomediastinum",
    "Lung Opacity",
    "Lung Lesion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "Tuberculosis",
    "COVID-19",
    "Bacterial Pneumonia",
    "Viral Pneumonia",
    NO_FINDING,
)


def choose_labels(wanted: Sequence[str], vocabulary: Sequence[str], dataset: str) -> tuple[str, ...]:
    """Check the wanted labels against a data set's own; DataError names an unknown one and the nearest name."""
    if not wanted:
        raise DataError(f"{dataset}: the list of labels is empty; choose from {', '.join(vocabulary)}")
    for name in wanted:
        if name not in vocabulary:
            near = difflib.get_close_matches(name, vocabulary, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{dataset}: it has no label {name!r}; {hint}Known labels: {', '.join(vocabulary)}")
    return tuple(wanted)


def split_findings(text: pd.Series, vocabulary: Sequence[str], origin: str, separator: str = "|") -> pd.DataFrame:
    """Turn lists of findings in one column ("Effusion|Mass") into one 0/1 column per label.

    text: N strings, index = 0-based data rows of `origin`; vocabulary: all names that may occur.
    Returns (N, len(vocabulary)) float32 with the index of `text`. Stated findings are 1, all others 0.
    Raises DataError for a name outside the vocabulary or an empty entry, naming the row.
    """
    column = {name: i for i, name in enumerate(vocabulary)}
    values = np.zeros((len(text), len(vocabulary)), dtype=np.float32)
    codes, entries = pd.factorize(text, use_na_sentinel=False)
    patterns = np.zeros((len(entries), len(vocabulary)), dtype=np.float32)
    for code, entry in enumerate(entries):
        stated = [] if pd.isna(entry) else [part.strip() for part in str(entry).split(separator)]
        unknown = [part for part in stated if part not in column]
        if unknown or not stated:
            row = int(text.index[int(np.flatnonzero(codes == code)[0])]) + 1
            found = f"finding {unknown[0]!r}" if unknown else "no entry"
            raise DataError(
                f"{origin}, row {row}, column {text.name!r}: found {found}, expected names out of "
                f"{', '.join(vocabulary)}, joined by {separator!r}; mend the row or use the data set's own file"
            )
        patterns[code, [column[part] for part in stated]] = 1.0
    values[:] = patterns[codes]
    return pd.DataFrame(values, index=text.index, columns=list(vocabulary))


def map_values(column: pd.Series, mapping: Mapping[object, float] | None, origin: str) -> pd.Series:
    """Translate one label column to 1, 0, -1, NaN.

    mapping: written value -> label value; keys are compared as text, "1.0" and "1" alike. An empty field stays NaN
    (not stated) unless the mapping has a key "" for it. Without a mapping the column must hold numbers.
    Raises DataError for a value the mapping does not know, naming the row.
    """
    if mapping is None:
        numbers = pd.to_numeric(column, errors="coerce")
        _refuse_unknown(column, numbers.isna() & column.notna(), origin, "a number; give a value map, for example "
                        "values: {Positive: 1, Negative: 0}")  # fmt: skip
        return numbers.astype(np.float32)
    table = {_plain(key): np.float32(np.nan if value is None else value) for key, value in mapping.items()}
    codes, entries = pd.factorize(column, use_na_sentinel=False)
    plain = ["" if pd.isna(entry) else _plain(entry) for entry in entries]
    unknown = np.array([entry not in table and entry != "" for entry in plain], dtype=bool)
    _refuse_unknown(column, pd.Series(unknown[codes], index=column.index), origin, f"one of {', '.join(table)}")
    known = np.array([table.get(entry, np.float32(np.nan)) for entry in plain], dtype=np.float32)
    return pd.Series(known[codes], index=column.index, name=column.name)


def map_labels(frame: pd.DataFrame, label_map: Mapping[str, str | None], origin: str) -> pd.DataFrame:
    """Rename a source's label columns into the joint vocabulary.

    frame: N rows of numbers (1, 0, -1, empty), one column per label under its written name, index = 0-based data rows
    of `origin`. label_map: written name -> name in `VOCABULARY`, or None for a column left out on purpose. Several
    written names may share a target: of their values the strongest wins, 1 before -1 before 0 before not stated.
    Returns (N, labels) float32 with the index of `frame`, in the order of `VOCABULARY`.
    Raises DataError, with the nearest name, for a target outside the vocabulary, a written name without a column and a
    column without an entry; and, naming the row, for a value other than 1, 0, -1 or empty.
    """
    targets = [target for target in label_map.values() if target is not None]
    for what, names, known in (
        ("label_map points to", targets, VOCABULARY),
        ("label_map names the column", list(label_map), [str(name) for name in frame.columns]),
        ("label_map has no entry for the column", [str(name) for name in frame.columns], list(label_map)),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{origin}: {what} {unknown[0]!r}; {hint}Known names: {', '.join(known) or 'none'}")
    ranks: dict[str, np.ndarray] = {}
    for written, target in label_map.items():
        values = map_values(frame[written], None, origin)
        known_value = values.isna() | values.isin(LABEL_VALUES)
        _refuse_unknown(frame[written], ~known_value, origin, "1 (positive), 0 (negative), -1 (uncertain) or empty")
        if target is not None:
            ranks[target] = np.maximum(ranks.get(target, 0), _strength(values.to_numpy()))
    mapped = {name: _OF_STRENGTH[ranks[name]] for name in VOCABULARY if name in ranks}
    return pd.DataFrame(mapped, index=frame.index, columns=list(mapped))


def strongest(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Join rows that speak of the same thing: of their values the strongest wins, 1 before -1 before 0 before NaN.

    values: (N, L) labels; groups: (N,) int64 in [0, count). Returns (count, L) float32.
    """
    strength = np.zeros((count, values.shape[1]), dtype=np.int8)
    np.maximum.at(strength, groups, _strength(values))
    return _OF_STRENGTH[strength]


_OF_STRENGTH = np.array([np.nan, 0.0, -1.0, 1.0], dtype=np.float32)


def _strength(values: np.ndarray) -> np.ndarray:
    return np.select([values == 1, values == -1, values == 0], [3, 2, 1], default=0).astype(np.int8)


def _plain(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    return text.removesuffix(".0") if text.replace(".", "", 1).lstrip("-").isdigit() else text


def _refuse_unknown(column: pd.Series, bad: pd.Series, origin: str, expected: str) -> None:
    positions = np.flatnonzero(bad.to_numpy())
    if positions.size:
        first = int(positions[0])
        raise DataError(
            f"{origin}, row {int(column.index[first]) + 1}, column {column.name!r}: found {column.iloc[first]!r}, "
            f"expected {expected} ({positions.size} such rows)"
        )

"""Which findings does a row state? Vocabularies and the ways tables write them down."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

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

"""Which diagnoses does a `finding` of the COVID-19 image data collection state? Paths, lists and bare names of a small tree."""

import re

import numpy as np
import pandas as pd

from cxrvl.data.labels import NO_FINDING
from cxrvl.errors import DataError

# The kinds of pneumonia in the collection's metadata: whoever has the disease on the right has all those on the left.
TREE = {
    "Pneumonia": ("Viral", "Bacterial", "Fungal", "Lipoid", "Aspiration"),
    "Viral": ("COVID-19", "SARS", "MERS-CoV", "MERS", "Influenza", "H1N1", "Varicella", "Herpes"),
    "Bacterial": (
        "Streptococcus", "Klebsiella", "E.Coli", "Mycoplasma", "Legionella", "Chlamydophila", "Nocardia",
        "Staphylococcus", "MRSA",
    ),
    "Fungal": ("Pneumocystis", "Aspergillosis"),
}  # fmt: skip
PARENT = {child: parent for parent, children in TREE.items() for child in children}
DIAGNOSES = ("Pneumonia", "Viral", "Bacterial", "Fungal", "COVID-19", "ARDS", "Tuberculosis", NO_FINDING)
"""The names that become columns; what lies deeper in the tree counts for those above it."""
KNOWN = {name.lower(): name for name in (*DIAGNOSES, *PARENT)}
UNLABELLED = ("", "todo", "unknown")
NAMES = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(KNOWN, key=len, reverse=True)), re.IGNORECASE
)


def read_findings(text: pd.Series, origin: str) -> pd.DataFrame:
    """Translate the column `finding`: (N, 8) float32, 1 named or implied, 0 another diagnosis is named, NaN unlabelled.

    Understood are the collection's generations: "COVID-19, ARDS", "Mycoplasma Bacterial Pneumonia" and
    "Pneumonia/Viral/COVID-19". "todo", "Unknown" and empty fields are unlabelled.
    Raises DataError naming the row of a finding without a known name, or with "No Finding" beside another.
    """
    codes, entries = pd.factorize(text, use_na_sentinel=False)
    rows = np.full((len(entries), len(DIAGNOSES)), np.nan, dtype=np.float32)
    for code, entry in enumerate(entries):
        written = "" if pd.isna(entry) else str(entry).strip()
        if written.lower() in UNLABELLED:
            continue
        stated: set[str] = set()
        for part in written.split(","):
            names = [KNOWN[name.lower()] for name in NAMES.findall(part)]
            if not names:
                raise _fault(
                    text, codes, code, origin, f"found {written!r}, where {part.strip()!r} is no known diagnosis"
                )
            for name in names:
                stated |= _with_ancestors(name)
        if NO_FINDING in stated and len(stated) > 1:
            raise _fault(text, codes, code, origin, f"found {written!r}: {NO_FINDING} beside a diagnosis")
        rows[code] = [name in stated for name in DIAGNOSES]
    return pd.DataFrame(rows[codes], index=text.index, columns=list(DIAGNOSES))


def _with_ancestors(name: str) -> set[str]:
    line = {name}
    while name in PARENT:
        name = PARENT[name]
        line.add(name)
    return line


def _fault(text: pd.Series, codes: np.ndarray, code: int, origin: str, found: str) -> DataError:
    row = int(text.index[int(np.flatnonzero(codes == code)[0])]) + 1
    return DataError(
        f"{origin}, row {row}, column {text.name!r}: {found}; expected diagnoses such as "
        f"Pneumonia/Viral/COVID-19, {NO_FINDING}, or todo where there is none; known names: {', '.join(KNOWN.values())}"
    )

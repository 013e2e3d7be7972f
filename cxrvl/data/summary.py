"""What is in a data set, in numbers: how many of what, per split, label, view, source, size and length of text?"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxrvl.data.boxes import long_boxes
from cxrvl.data.checks import SPLIT_NAMES
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.studies import SECTIONS, UNKNOWN_SIZE, StudyTable

ALL = "all"
COMMON_SIZES = 6
DECADE = 10
NOT_COUNTED = ("boxes", "split", "dataset")
"""Columns that are no value of a row: an empty list of boxes is a statement, the others are never empty."""


@dataclass(frozen=True)
class Summary:
    """The numbers of one table; frames are empty where the table has nothing of that kind.

    unit: what one row is, "image" or "report". A split named "all" stands for all of them, and is left out of frames
    by split where there is only one.
        counts     per split: rows, studies, patients, boxed (rows with a box), boxes
        labels     columns split, label, positive, negative, uncertain, missing, prevalence = positive / (positive +
                   negative), NaN without either
        by_source  the same with a column dataset instead of split; one data set gives no rows
        sources    per data set: rows, studies, patients, with_text (studies)
        views, sex rows per value ("" = not stated) and split
        missing    per column with a missing value: missing, share of rows
        ages       per split: known, min, q1, median, q3, max, in years
        decades    rows per decade of age, from 0
        sizes      columns width, height, rows: the commonest native sizes by the table
        extents    per width, height, aspect (width / height), bytes: known, min, median, max, total
        sections   per report section: with_text, empty (share), distinct (texts / with_text), and words: min, median,
                   mean, p95, max; one text per study
        lengths    per section, words per text (n,) int64
    mixed_studies: studies whose images name several patients, which no study can have.
    synthetic: data sets that are drawn.
    """

    unit: str
    rows: int
    datasets: tuple[str, ...]
    label_names: tuple[str, ...]
    split_name: str
    notes: tuple[str, ...]
    counts: pd.DataFrame
    labels: pd.DataFrame
    by_source: pd.DataFrame
    sources: pd.DataFrame
    views: pd.DataFrame
    sex: pd.DataFrame
    missing: pd.DataFrame
    ages: pd.DataFrame
    decades: np.ndarray
    sizes: pd.DataFrame
    extents: pd.DataFrame
    sections: pd.DataFrame
    lengths: dict[str, np.ndarray]
    mixed_studies: int
    synthetic: tuple[str, ...]


def summarise(table: StudyTable | ReportTable, synthetic: Collection[str] = ()) -> Summary:
    """Count what a table holds, vectorised over its rows; columns it does not have are left out.

    synthetic: names of data sets that are drawn, see `cxrvl.data.examples.synthetic_parts`.
    """
    frame: pd.DataFrame = table.frame
    keys = {name: _codes(frame, name) for name in ("study", "patient") if name in frame}
    datasets = tuple(str(name) for name in frame["dataset"].unique())
    texts = study_texts(frame)
    lengths = {name: _words(texts[name]) for name in texts.columns if name in SECTIONS}
    values = frame[list(table.labels)].to_numpy(dtype=np.float32)
    splits = list(_splits(frame))
    sets = [(name, (frame["dataset"] == name).to_numpy()) for name in datasets] if len(datasets) > 1 else []
    return Summary(
        unit="image" if "image" in frame else "report",
        rows=len(frame),
        datasets=datasets,
        label_names=tuple(table.labels),
        split_name=table.split_name,
        notes=table.notes,
        counts=_counts(frame, keys, splits),
        labels=_label_counts(values, table.labels, splits, "split"),
        by_source=_label_counts(values, table.labels, sets, "dataset"),
        sources=_sources(keys, texts, sets),
        views=_values(frame, "view", splits),
        sex=_values(frame, "sex", splits),
        missing=_missing(frame, table.labels),
        ages=_ages(frame, splits),
        decades=_decades(frame),
        sizes=_sizes(frame),
        extents=_extents(frame),
        sections=_sections(texts, lengths),
        lengths=lengths,
        mixed_studies=_mixed(keys),
        synthetic=tuple(name for name in datasets if name in synthetic),
    )


def by_dataset(table: StudyTable, synthetic: Collection[str] = ()) -> list[Summary]:
    """Count each data set of a joint table for itself, with the labels it states; none for a single data set."""
    names = [str(name) for name in table.frame["dataset"].unique()]
    summaries = []
    for name in names if len(names) > 1 else ():
        frame = table.frame[table.frame["dataset"] == name].dropna(axis=1, how="all").reset_index(drop=True)
        part = replace(
            table,
            frame=frame,
            labels=tuple(label for label in table.labels if label in frame),
            notes=tuple(note.removeprefix(f"{name}: ") for note in table.notes if note.startswith(f"{name}: ")),
        )
        summaries.append(summarise(part, synthetic))
    return summaries


def split_conflicts(table: StudyTable, reports: ReportTable) -> int:
    """Count the studies that are in one split as images and in another as reports: what is learnt there leaks."""
    keys = ["dataset", "study", "split"]
    both = table.frame[keys].drop_duplicates().merge(reports.frame[keys], on=keys[:2], suffixes=("", "_report"))
    return int((both["split"] != both["split_report"]).sum())


def study_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per study, in order of first mention: dataset, row (its first) and each section there is.

    A section is the first text that a row of the study has, "" where none has; rows of one study repeat their text.
    """
    names = [name for name in SECTIONS if name in frame]
    codes, first = np.unique(_codes(frame, "study"), return_index=True)
    out = pd.DataFrame({"dataset": frame["dataset"].to_numpy(dtype=object)[first], "row": first})
    study = _codes(frame, "study")
    for name in names:
        text = frame[name].astype(object)
        filled = np.flatnonzero((text.notna() & (text.astype(str).str.strip() != "")).to_numpy())
        holders, where = np.unique(study[filled], return_index=True)
        column = np.full(len(codes), "", dtype=object)
        column[holders] = text.to_numpy()[filled[where]]
        out[name] = column
    return out


def _codes(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Number the studies or patients in order of first mention; those of different data sets are different."""
    codes, _ = pd.factorize(frame["dataset"].astype(str) + "\0" + frame[name].astype(str))
    return codes


def _splits(frame: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each split that has rows, and all of them together, with the rows as a mask."""
    split = frame["split"].to_numpy(dtype=object)
    there = [name for name in SPLIT_NAMES if (split == name).any()]
    for name in there:
        yield name, split == name
    if len(there) != 1:
        yield ALL, np.ones(len(frame), dtype=bool)


def _counts(frame: pd.DataFrame, keys: dict[str, np.ndarray], splits: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    boxes = long_boxes(frame["boxes"])["row"].to_numpy() if "boxes" in frame else np.zeros(0, dtype=np.int64)
    lines = {}
    for name, mask in splits:
        inside = boxes[mask[boxes]]
        line = {"rows": int(mask.sum())} | {f"{key}s": np.unique(codes[mask]).size for key, codes in keys.items()}
        lines[name] = line | {"boxed": np.unique(inside).size, "boxes": inside.size}
    counts = pd.DataFrame.from_dict(lines, orient="index")
    return counts.rename(columns={"studys": "studies"})


def _label_counts(
    values: np.ndarray, labels: Sequence[str], groups: Sequence[tuple[str, np.ndarray]], by: str
) -> pd.DataFrame:
    """Count the label values of each group; columns as `Summary.labels`."""
    parts = []
    for name, mask in groups:
        some = values[mask]
        positive, negative = (some == 1).sum(axis=0), (some == 0).sum(axis=0)
        stated = positive + negative
        parts.append(
            pd.DataFrame(
                {
                    by: name,
                    "label": list(labels),
                    "positive": positive,
                    "negative": negative,
                    "uncertain": (some == -1).sum(axis=0),
                    "missing": np.isnan(some).sum(axis=0),
                    "prevalence": np.where(stated > 0, positive / np.maximum(stated, 1), np.nan),
                }
            )
        )
    columns = [by, "label", "positive", "negative", "uncertain", "missing", "prevalence"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _sources(keys: dict[str, np.ndarray], texts: pd.DataFrame, sets: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    sections = texts[[name for name in texts.columns if name in SECTIONS]]
    filled = (sections != "").any(axis=1).to_numpy() if len(sections.columns) else np.zeros(len(texts), dtype=bool)
    lines = {
        name: {
            "rows": int(mask.sum()),
            "studies": np.unique(keys["study"][mask]).size,
            "patients": np.unique(keys["patient"][mask]).size if "patient" in keys else 0,
            "with_text": int((filled & (texts["dataset"] == name).to_numpy()).sum()),
        }
        for name, mask in sets
    }
    return pd.DataFrame.from_dict(lines, orient="index")


def _values(frame: pd.DataFrame, column: str, splits: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """Count the values of a text column in each split, commonest first."""
    if column not in frame:
        return pd.DataFrame()
    codes, entries = pd.factorize(frame[column].fillna("").astype(str))
    counted = {name: np.bincount(codes[mask], minlength=len(entries)) for name, mask in splits}
    table = pd.DataFrame(counted, index=pd.Index(entries, name=column))
    return table.sort_values(table.columns[-1], ascending=False, kind="stable")


def _missing(frame: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    lost = {}
    for name in frame.columns:
        if name in labels or name in NOT_COUNTED:
            continue
        values = frame[name]
        absent = values.isna().to_numpy()
        if name == "bytes":
            absent = (values == UNKNOWN_SIZE).to_numpy()
        elif values.dtype == object or pd.api.types.is_string_dtype(values.dtype):
            absent = absent | (values.astype(str).str.strip() == "").to_numpy()
        if absent.any():
            lost[str(name)] = {"missing": int(absent.sum()), "share": absent.mean()}
    return pd.DataFrame.from_dict(lost, orient="index").sort_values("missing", ascending=False) if lost else _none()


def _none() -> pd.DataFrame:
    return pd.DataFrame()


def _ages(frame: pd.DataFrame, splits: Sequence[tuple[str, np.ndarray]]) -> pd.DataFrame:
    if "age" not in frame or frame["age"].isna().all():
        return _none()
    ages = frame["age"].to_numpy(dtype=np.float64)
    lines = {}
    for name, mask in splits:
        known = ages[mask & ~np.isnan(ages)]
        edges = np.percentile(known, [0, 25, 50, 75, 100]) if known.size else np.full(5, np.nan)
        lines[name] = {"known": known.size, **dict(zip(("min", "q1", "median", "q3", "max"), edges, strict=True))}
    return pd.DataFrame.from_dict(lines, orient="index")


def _decades(frame: pd.DataFrame) -> np.ndarray:
    if "age" not in frame:
        return np.zeros(0, dtype=np.int64)
    ages = frame["age"].dropna().to_numpy(dtype=np.float64)
    return np.bincount((ages // DECADE).astype(np.int64)) if ages.size else np.zeros(0, dtype=np.int64)


def _sizes(frame: pd.DataFrame) -> pd.DataFrame:
    if "width" not in frame or "height" not in frame:
        return _none()
    pairs = frame[["width", "height"]].dropna()
    if pairs.empty:
        return _none()
    counted = pairs.value_counts().head(COMMON_SIZES).rename("rows").reset_index()
    return counted.astype(np.int64)


def _extents(frame: pd.DataFrame) -> pd.DataFrame:
    found: dict[str, pd.Series] = {}
    if "width" in frame and "height" in frame:
        found = {"width": frame["width"], "height": frame["height"], "aspect": frame["width"] / frame["height"]}
    if "bytes" in frame:
        found["bytes"] = frame["bytes"].where(frame["bytes"] > 0)
    lines = {}
    for name, column in found.items():
        values = column.dropna().to_numpy(dtype=np.float64)
        if values.size:
            low, middle, high = np.percentile(values, [0, 50, 100])
            lines[name] = {"known": values.size, "min": low, "median": middle, "max": high, "total": values.sum()}
    return pd.DataFrame.from_dict(lines, orient="index")


def _words(texts: pd.Series) -> np.ndarray:
    """Words of each text that has any, (n,) int64; words are what white space separates."""
    counted = np.fromiter((len(text.split()) for text in texts), dtype=np.int64, count=len(texts))
    return counted[counted > 0]


def _sections(texts: pd.DataFrame, lengths: dict[str, np.ndarray]) -> pd.DataFrame:
    lines = {}
    for name, words in lengths.items():
        if not words.size:
            continue
        low, middle, high, most = np.percentile(words, [0, 50, 95, 100])
        lines[name] = {
            "with_text": words.size,
            "empty": 1 - words.size / len(texts),
            "distinct": texts[name][texts[name] != ""].nunique() / words.size,
            "min": low,
            "median": middle,
            "mean": words.mean(),
            "p95": high,
            "max": most,
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def _mixed(keys: dict[str, np.ndarray]) -> int:
    """How many studies hold images of several patients."""
    if len(keys) < 2:
        return 0
    pairs = pd.DataFrame(keys).drop_duplicates()
    return int((pairs["study"].value_counts() > 1).sum())

"""How do the numbers of a data set read? As titled blocks of cells, the same on the terminal and on the page."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxrvl.data.examples import Look
from cxrvl.data.studies import COLUMNS
from cxrvl.data.summary import ALL, Summary

NOTHING = "–"
NOT_STATED = "(not stated)"
MOST_VALUES = 12
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@dataclass(frozen=True)
class Block:
    """Cells under a title; the first column is words, the others are numbers. about: how to read it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    about: str = ""


def blocks(summary: Summary) -> list[Block]:
    """Return what a table holds as blocks, in reading order; what it has nothing of is left out."""
    made = [
        _counts(summary),
        _sources(summary),
        _labels(summary),
        _by_split(summary),
        _unclear(summary),
        _label_sources(summary),
        _values("Views", "view", summary.views),
        _values("Sex", "sex", summary.sex),
        _ages(summary),
        _extents(summary),
        _sizes(summary),
        _sections(summary),
        _missing(summary),
    ]
    return [block for block in made if block is not None and block.rows]


def notes(summary: Summary) -> list[str]:
    """Return the table's own notes, and what its numbers give away."""
    found = [plain(note) for note in summary.notes]
    if summary.mixed_studies:
        found.append(
            f"{count(summary.mixed_studies)} studies hold {summary.unit}s of several patients: the study column is not "
            "unique, and reports may be joined to the wrong images"
        )
    return found


def labels_by_split(summary: Summary) -> Block | None:
    """Return every label value count of every split, for a page that has room for it."""
    if summary.labels.empty:
        return None
    rows: list[tuple[str, ...]] = [
        (plain(line.label), str(line.split), *_label_cells(line))
        for label in summary.label_names
        for line in summary.labels[summary.labels["label"] == label].itertuples()
    ]
    once = tuple(row if i == 0 or rows[i - 1][0] != row[0] else ("", *row[1:]) for i, row in enumerate(rows))
    return Block("Labels by split, in full", ("label", "split", *_LABEL_HEADER), once)


def pixels(looks: Sequence[Look]) -> Block | None:
    """Return what the pixels of some images are like."""
    seen = [look.pixels for look in looks if look.pixels is not None]
    if not looks:
        return None
    rows = [("unreadable", count(len(looks) - len(seen)), *[""] * 2)]
    if seen:
        kinds: dict[str, list[float]] = {
            "height, px": [p.shape[0] for p in seen],
            "width, px": [p.shape[1] for p in seen],
            "mean grey, of 1": [float(p.mean()) for p in seen],
            "darkest": [float(p.min()) for p in seen],
            "brightest": [float(p.max()) for p in seen],
        }
        rows += [(name, *(number(f(values)) for f in (np.min, np.median, np.max))) for name, values in kinds.items()]
    stored = sum(look.stored for look in looks)
    where = "the image store, as training sees them" if stored == len(looks) else "the source, not from an image store"
    if 0 < stored < len(looks):
        where = f"the image store ({stored}) and the source ({len(looks) - stored})"
    return Block(f"Pixels of {len(looks)} images", ("", "min", "median", "max"), tuple(rows), f"Read from {where}.")


_LABEL_HEADER = ("positive", "negative", "uncertain", "missing", "prevalence")
_PREVALENCE = "Prevalence: positive / (positive + negative). Missing: not stated."


def _counts(summary: Summary) -> Block:
    frame = summary.counts
    names = {"rows": f"{summary.unit}s", "boxed": "with boxes"}
    shown = [name for name in frame.columns if name not in ("boxed", "boxes") or frame[name].any()]
    rows = tuple((str(split), *(count(line[name]) for name in shown)) for split, line in frame.iterrows())
    split = f"Split: {plain(summary.split_name)}." if summary.split_name else ""
    return Block("Counts", ("split", *(names.get(name, name) for name in shown)), rows, split)


def _sources(summary: Summary) -> Block | None:
    frame = summary.sources
    rows = tuple((plain(name), *(count(value) for value in line)) for name, line in frame.iterrows())
    return Block("Sources", ("data set", f"{summary.unit}s", "studies", "patients", "studies with text"), rows)


def _labels(summary: Summary) -> Block | None:
    """Return the label counts of all splits together."""
    frame = summary.labels
    if frame.empty:
        return None
    whole = frame[frame["split"] == (ALL if ALL in set(frame["split"]) else frame["split"].iloc[0])]
    rows = tuple((plain(line.label), *_label_cells(line)) for line in whole.itertuples())
    return Block(f"Labels, all {summary.unit}s", ("label", *_LABEL_HEADER), rows, _PREVALENCE)


def _label_cells(line: object) -> tuple[str, ...]:
    counted = (count(getattr(line, name)) for name in _LABEL_HEADER[:-1])
    return (*counted, percent(getattr(line, "prevalence")))  # noqa: B009  (rows of a frame have no static attributes)


def _by_split(summary: Summary) -> Block | None:
    """Return positives and prevalence side by side, split after split."""
    return _side_by_side("Positive by split (prevalence)", summary.labels, "split", _positive)


def _unclear(summary: Summary) -> Block | None:
    frame = summary.labels
    if frame.empty or not (frame["uncertain"].any() or frame["missing"].any()):
        return None
    block = _side_by_side("Uncertain / missing by split", frame, "split", _unstated)
    if block is not None and len({row[1:] for row in block.rows}) == 1 < len(block.rows):
        return replace(block, rows=(("each label", *block.rows[0][1:]),))
    return block


def _label_sources(summary: Summary) -> Block | None:
    return _side_by_side("Positive by source (prevalence)", summary.by_source, "dataset", _positive)


def _side_by_side(title: str, frame: pd.DataFrame, by: str, cell: object) -> Block | None:
    """Lay groups out as columns; nothing if there is only one."""
    groups = [name for name in dict.fromkeys(frame[by]) if name != ALL] if len(frame) else []
    if len(groups) < 2:
        return None
    lines = {(line[by], line["label"]): cell(line) for line in frame.to_dict("records")}  # type: ignore[operator]
    labels = list(dict.fromkeys(frame["label"]))
    rows = tuple((plain(label), *(lines[group, label] for group in groups)) for label in labels)
    return Block(title, ("label", *map(plain, groups)), rows)


def _positive(line: dict) -> str:
    return f"{count(line['positive'])} {percent(line['prevalence'])}"


def _unstated(line: dict) -> str:
    return f"{count(line['uncertain'])} / {count(line['missing'])}"


def _values(title: str, first: str, frame: pd.DataFrame) -> Block | None:
    if frame.empty or list(frame.index) == [""]:
        return None
    shown, rest = frame.iloc[:MOST_VALUES], frame.iloc[MOST_VALUES:]
    rows = [(plain(name) or NOT_STATED, *map(count, line)) for name, line in shown.iterrows()]
    if len(rest):
        rows.append((f"{len(rest)} more", *map(count, rest.sum())))
    return Block(title, (first, *map(str, frame.columns)), tuple(rows))


def _ages(summary: Summary) -> Block | None:
    frame = summary.ages
    rows = tuple((str(split), count(line["known"]), *map(number, line.iloc[1:])) for split, line in frame.iterrows())
    return Block("Age in years", ("split", "known", "min", "quarter", "median", "3 quarters", "max"), rows)


def _extents(summary: Summary) -> Block | None:
    rows = []
    for name, line in summary.extents.iterrows():
        told = size if name == "bytes" else number
        total = told(line["total"]) if name == "bytes" else ""
        rows.append((f"{name}, native px" if name in ("width", "height") else str(name), count(line["known"]),
                     *(told(line[key]) for key in ("min", "median", "max")), total))  # fmt: skip
    return Block("Image sizes by the table", ("", "known", "min", "median", "max", "total"), tuple(rows))


def _sizes(summary: Summary) -> Block | None:
    frame = summary.sizes
    if len(frame) < 2:
        return None
    share = [(f"{w} × {h}", count(n), percent(n / summary.rows)) for w, h, n in frame.itertuples(index=False)]
    return Block("Commonest sizes (width × height)", ("", f"{summary.unit}s", "share"), tuple(share))


def _sections(summary: Summary) -> Block | None:
    frame = summary.sections
    rows = tuple(
        (str(name), count(line["with_text"]), percent(line["empty"]), percent(line["distinct"]),
         *(number(round(line[key])) for key in ("min", "median", "mean", "p95", "max")))
        for name, line in frame.iterrows()
    )  # fmt: skip
    header = ("section", "studies", "empty", "distinct", "min", "median", "mean", "95 %", "max")
    return Block(
        "Report text: words per section", header, rows, "Distinct: different texts among those that are there."
    )


def _missing(summary: Summary) -> Block | None:
    frame, about = summary.missing, "Labels are counted above."
    if len(summary.datasets) > 1:
        frame, about = frame[frame.index.isin(COLUMNS)], "Columns of one source alone are left out here."
    rows = tuple((plain(name), count(line["missing"]), percent(line["share"])) for name, line in frame.iterrows())
    return Block("Columns with missing values", ("column", "missing", "share"), rows, about)


def count(value: float) -> str:
    """Write a whole number: 12,345."""
    return f"{int(value):,}"


def percent(share: float) -> str:
    """Write a share: 12.3%, two digits below one per cent, a dash for NaN."""
    if np.isnan(share):
        return NOTHING
    return f"{100 * share:.2f}%" if 0 < share < 0.01 else f"{100 * share:.1f}%"


def number(value: float) -> str:
    """Write a number in at most about six characters."""
    if np.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def size(value: float) -> str:
    """Write a number of bytes in its largest fitting unit."""
    for unit, name in UNITS:
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} B"


def plain(text: object, keep: str = "") -> str:
    """Return text without control and direction characters, which a terminal or a browser would obey; � stands for them."""
    words = str(text)
    if words.isprintable():
        return words
    return "".join(c if c in keep or unicodedata.category(c)[0] != "C" else "\ufffd" for c in words)

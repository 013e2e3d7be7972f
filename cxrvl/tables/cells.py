"""How does a number of the table read: rounding, marks and the words around it?

Metrics are printed in percent points with two decimals, differences with a sign, p with three decimals; one set of
rules for the terminal, Markdown and LaTeX. The CSV keeps unrounded fractions.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cxrvl.evaluation.predictions import TEXTS
from cxrvl.evaluation.row_statistics import METRICS
from cxrvl.tables.published import PublishedNumber
from cxrvl.tables.result import OTHER_CLASSES, OTHER_SPLIT, TableResult
from cxrvl.tables.spec import Column, Measure
from cxrvl.tables.synthetic import SYNTHETIC

NOTHING = "—"
UNVERIFIED = "†"
MINUS = "−"
BASELINE, NOT_TESTED = "baseline", "not tested"


@dataclass(frozen=True)
class Block:
    """One rectangle of cells under a title."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def numeric(self) -> set[int]:
        """Columns set flush right: those of numbers, intervals, dashes and the words that stand for a number."""
        places = range(1, len(self.header))
        return {place for place in places if all(_is_number(row[place]) for row in self.rows)}


@dataclass(frozen=True)
class Document:
    """A table as text cells, ready for any renderer."""

    name: str
    title: str
    question: str
    caption: tuple[str, ...]
    main: tuple[Block, ...]
    further: tuple[Block, ...]
    context: Block | None
    footnotes: tuple[str, ...]
    warnings: tuple[str, ...]


def _is_number(cell: str) -> bool:
    words = (BASELINE, NOT_TESTED, OTHER_SPLIT, OTHER_CLASSES)
    return not cell or cell[0] in f"0123456789+{MINUS}[<{NOTHING}" or cell in words


def percent(fraction: float) -> str:
    """A fraction as percent points with two decimals: 0.85388 -> "85.39"; NaN -> a dash."""
    return NOTHING if np.isnan(fraction) else f"{100 * fraction:.2f}"


def signed(fraction: float) -> str:
    """A difference in percent points with its sign: 0.012 -> "+1.20"; NaN -> a dash."""
    if np.isnan(fraction):
        return NOTHING
    text = f"{100 * fraction:+.2f}"
    return f"{text[1:]}" if float(text) == 0 else text.replace("-", MINUS)


def interval(low: float, high: float) -> str:
    """An interval of values: "[84.90, 85.80]"; NaN -> a dash."""
    return NOTHING if np.isnan(low) or np.isnan(high) else f"[{percent(low)}, {percent(high)}]"


def difference(delta: float, low: float, high: float) -> str:
    """A difference with its interval: "+0.71 [+0.20, +1.12]"; NaN -> a dash."""
    if np.isnan(low) or np.isnan(high):
        return signed(delta)
    return f"{signed(delta)} [{signed(low)}, {signed(high)}]"


def spread(mean: float, sd: float | None) -> str:
    """Mean and standard deviation over seeds: "85.39 ± 0.12"; the mean alone where there is one seed."""
    if np.isnan(mean) or sd is None or np.isnan(sd):
        return percent(mean)
    return f"{percent(mean)} ± {percent(sd)}"


def p_value(p: float) -> str:
    """A p value with three decimals, "<0.001" below; NaN -> a dash."""
    if np.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def published(number: PublishedNumber | None) -> str:
    """A published value to no more decimals than were published, marked where unverified; None -> a dash."""
    if number is None:
        return NOTHING
    parts = [f"{100 * part:.{min(number.decimals, 2)}f}" for part in (number.value, number.sd) if part is not None]
    return " ± ".join(parts) + (UNVERIFIED if number.status == "unverified" else "")


def document(result: TableResult) -> Document:
    """Turn a result into titled blocks of text cells, captions and footnotes."""
    line, table = result.line, result.table
    with_published = bool(line.show_published and result.frame["published"].notna().any())
    main = tuple(_column_block(result, column, with_published) for column in line.columns)
    further = [block for block in (_comparison_block(result), _delong_block(result), *_label_blocks(result)) if block]
    context = _context_block(result)
    footnotes = [note for note in (table.intro, line.protocol, *line.notes) if note]
    footnotes += result.notes
    if any(METRICS[column.metric] == "marks" for column in line.columns):
        footnotes.append("Localisation: a mark hits a lesion when its peak lies inside the box.")
    shown = [*main, *further, *([context] if context else [])]
    if any(UNVERIFIED in cell for block in shown for row in block.rows for cell in row):
        footnotes.append(f"{UNVERIFIED} Unverified: not checked against its source.")
    if with_published:
        footnotes += _sources(result)
    return Document(
        name=f"{table.name}_{line.name}",
        title=f"{table.title}: {line.title}",
        question=line.question,
        caption=tuple(_caption(result)),
        main=main,
        further=tuple(further),
        context=context,
        footnotes=tuple(footnotes),
        warnings=result.warnings,
    )


def _caption(result: TableResult) -> list[str]:
    line, table = result.line, result.table
    what = "reports" if any(METRICS[column.metric] in TEXTS for column in line.columns) else "images"
    scored = "nothing scored yet"
    if result.n_images:
        scored = f"{result.n_images:,} {what} of {result.n_patients:,} patients"
    seeds = ", ".join(str(seed) for seed in line.seeds)
    lines = [SYNTHETIC] if table.synthetic else []
    lines.append(f"Split: {line.data_split}, scored on {line.score_split} ({scored}). Seeds: {seeds}.")
    lines.append(
        "All values in percent: mean ± sd over seeds; 95 % intervals and two-sided p from "
        f"{table.resamples:,} paired bootstrap resamples of patients and seeds (Student's t)"
    )
    if tests := int(result.comparisons["p_raw"].notna().sum()):
        lines[-1] += f"; Holm's correction over {tests} comparison{'s' * (tests > 1)}"
    return [*lines[:-1], lines[-1] + "."]


def _column_block(result: TableResult, column: Column, with_published: bool) -> Block:
    line, table = result.line, result.table
    baseline = line.row(line.baseline).label
    header = ["Row", "Seeds", "Mean ± sd", "95 % interval", f"Δ to {baseline}", "p", "p (Holm)"]
    header += ["Published", "Ours − published"] if with_published else []
    rows = []
    for row in line.rows:
        cell = result.cell(row.name, column)
        seeds = (
            f"{cell['n_seeds']}"
            if cell["n_seeds"] == cell["seeds_asked"]
            else f"{cell['n_seeds']} of {cell['seeds_asked']}"
        )
        delta = difference(cell["delta"], cell["delta_low"], cell["delta_high"])
        cells = [row.label, seeds, spread(cell["mean"], cell["sd"]), interval(cell["low"], cell["high"])]
        if row.name == line.baseline:
            cells += [BASELINE, "", ""]
        elif column.tested:
            cells += [delta, p_value(cell["p_raw"]), p_value(cell["p_holm"])]
        else:
            cells += [delta, "", NOT_TESTED]
        if with_published:
            cells.append(published(table.published_number(line, row.name, column)))
            cells.append(cell["difference_note"] or signed(cell["difference"]))
        rows.append(tuple(cells))
    entered, total = (int(result.cell(line.baseline, column)[name]) for name in ("classes_entered", "classes_total"))
    title = f"{column.title} ({entered} of {total} classes)" if total else column.title
    return Block(title, tuple(header), tuple(rows))


def _comparison_block(result: TableResult) -> Block | None:
    """Comparisons against other rows than the baseline, which the main blocks have no room for."""
    line = result.line
    frame = result.comparisons[result.comparisons["against"] != line.baseline]
    rows = tuple(
        (
            f"{line.row(test['row']).label} against {line.row(test['against']).label}",
            str(test["title"]),
            difference(test["delta"], test["low"], test["high"]),
            p_value(test["p_raw"]),
            p_value(test["p_holm"]),
        )
        for test in frame.to_dict("records")
    )
    return Block("Further comparisons", ("Rows", "Measure", "Δ", "p", "p (Holm)"), rows) if rows else None


def _delong_block(result: TableResult) -> Block | None:
    """Paired tests of single runs where one label is asked for; of many labels the file has them."""
    frame = result.delong
    if frame.empty or frame["label"].nunique() > 1:
        return None
    measures = {one.key: one for one in result.line.measures}
    words = Counter(measures[key].words for key in dict.fromkeys(frame["measure"]))
    rows = tuple(
        (
            f"{result.line.row(test['row']).label} against {result.line.row(test['against']).label}",
            _told(measures[test["measure"]], words),
            str(test["seed"]),
            difference(test["delta"], test["low"], test["high"]),
            p_value(test["p_raw"]),
            p_value(test["p_holm"]),
        )
        for test in frame.to_dict("records")
    )
    title = "Paired DeLong tests of single runs (Holm's correction per seed)"
    return Block(title, ("Rows", "Measure", "Seed", "Δ", "p", "p (Holm)"), rows)


def _told(measure: Measure, words: Mapping[str, int]) -> str:
    """A measure in words, with its evaluation where those alone would not tell it from another."""
    return measure.words + (f" ({measure.evaluation})" if words[measure.words] > 1 else "")


def _label_blocks(result: TableResult) -> list[Block]:
    if not result.line.per_label or result.labels.empty:
        return []
    blocks, numbers, measures = [], result.table.published, {one.key: one for one in result.line.measures}
    words = Counter(one.words for one in measures.values())
    for key, frame in result.labels.groupby("measure", sort=False):
        measure = measures[str(key)]
        if measure.selection.corruption or measure.selection.severity or frame["group"].nunique() == 1:
            continue  # one label is what the main block shows already
        shown = [row for row in result.line.rows if row.name in set(frame["row"])]
        printed = frame[frame["published"].notna()] if result.line.show_published else frame.iloc[:0]
        known = [row for row in shown if row.name in set(printed["row"])]
        by_cell = {(cell["row"], cell["group"]): cell for _, cell in frame.iterrows()}
        rows = []
        for label in dict.fromkeys(frame["group"]):
            cells = [by_cell[row.name, label] for row in shown]
            rows.append((
                label,
                *(spread(cell["mean"], cell["sd"]) for cell in cells),
                *(published(numbers.get(row.name, label, measure.metric)) for row in known),
            ))  # fmt: skip
        header = ("Finding", *(row.label for row in shown), *(f"{row.label}, published" for row in known))
        blocks.append(Block(f"{_told(measure, words)} per finding, mean ± sd over seeds", header, tuple(rows)))
    return blocks


def _context_block(result: TableResult) -> Block | None:
    """Numbers of other systems; their split stands beside each, since none is compared across splits."""
    context = result.table.published.context
    if not result.line.show_published or not context:
        return None
    ordered = sorted(context, key=lambda number: (number.split != result.line.data_split, number.split))
    rows = tuple(_context_row(number) for number in ordered)
    header = ("System", "Metric", "Published", "Split", "Protocol", "Source")
    return Block("Published elsewhere, for context; never subtracted from ours", header, rows)


def _context_row(number: PublishedNumber) -> tuple[str, ...]:
    value = published(number)
    measure = number.metric.upper() + ("" if number.group == "all" else f", {number.group}")
    source = number.source + (f" ({number.note})" if number.note else "")
    return (number.name, measure, value, number.split, number.protocol or NOTHING, source)


def _sources(result: TableResult) -> list[str]:
    """Source and protocol of every published number beside one of our rows, once each."""
    rows = {row.name for row in result.line.rows}
    told: dict[str, None] = {}
    for number in result.table.published.numbers:
        if number.row in rows:
            told[f"Published: {number.source}; split {number.split}; {number.protocol} ({number.status})."] = None
    return list(told)

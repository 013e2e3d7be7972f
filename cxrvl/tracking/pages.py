"""What does a run look like? One page of its curves, pictures and results, readable without a network or a server."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cxrvl.files import read_json, read_yaml, write_atomic
from cxrvl.tracking.curves import chart, panels, series_of
from cxrvl.tracking.pictures import KINDS, PAGES, Kept, kept

INDEX = "index.html"
TITLES = {
    "val/worst_errors": (
        "Worst errors of the validation",
        "The radiographs whose least well predicted label costs most (cross-entropy of that label alone, labels that are "
        "uncertain or not stated left out). Yellow: boxes of that label, where the data set has them.",
    ),
    "val/attention": (
        "What the comparing module attends to",
        "Per radiograph, from left to right: the image with its boxes; the mean of all groups of K, then of Q; the most "
        "concentrated group of K, then of Q, chosen without knowing the box. Colour: attention above the uniform level, "
        "each map up to its own maximum.",
    ),
    "val/cls_attention": (
        "What the CLS token attends to",
        "Per radiograph, from left to right: the image with its boxes; the mean over the heads of the last block; its heads "
        "one by one, in their order. Colour: attention above the uniform level, each map up to its own maximum.",
    ),
    "train/inputs": (
        "Training images as the network saw them",
        "After augmentation, before the network's own normalisation.",
    ),
    "train/views": (
        "Views of training images as student and teacher saw them",
        "Per radiograph, from left to right, the first views in their order; smaller ones are enlarged.",
    ),
}
WIDE = ("val/attention", "val/cls_attention", "train/views")
COLUMNS = (
    "auroc", "drop", "auprc", "sensitivity", "specificity", "brier", "jafroc", "pointing_game", "in_box", "chance",
    "recall_at_1", "recall_at_5", "recall_at_10", "mrr", "median_rank", "precision_at_5", "precision_at_10", "f1",
    "macro_f1_14", "micro_f1_14", "pool", "positives", "n",
)  # fmt: skip
"""Which numbers of metrics.json the page shows, where they are there."""

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fafafa; margin: 0 auto; max-width: 1240px;
  padding: 24px; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 17px; margin: 34px 0 4px; } h3 { font-size: 14px; margin: 18px 0 6px; }
p.about { color: #555; margin: 2px 0 12px; max-width: 90ch; font-size: 13.5px; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 12px; }
.curves svg { background: #fff; border: 1px solid #ddd; border-radius: 6px; width: 100%; }
svg text { font-family: system-ui, sans-serif; } svg .title { font-size: 12.5px; font-weight: 600; fill: #222; }
svg .tick { font-size: 10px; fill: #666; } svg .grid { stroke: #eee; }
.pictures { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start; }
figure { margin: 0; background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 8px; }
figure img { display: block; height: 220px; max-width: 100%; background: #000; }
.wide figure img { height: 190px; background: #fff; }
figcaption { font-size: 12.5px; margin-top: 6px; width: 220px; min-width: 100%; box-sizing: border-box;
  overflow-wrap: anywhere; } figcaption small { color: #666; }
.wide figcaption { width: auto; }
table { border-collapse: collapse; background: #fff; font-size: 13.5px; } th, td { padding: 4px 12px; text-align: right;
  border-bottom: 1px solid #e5e5e5; white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
td small { color: #777; } tr.mean td { font-weight: 600; } details { margin-top: 10px; } summary { cursor: pointer;
  color: #555; font-size: 13.5px; } .local { color: #8a4b00; font-size: 13.5px; }
"""


def write_page(folder: Path) -> Path:
    """Write `<run>/pages/index.html` from the run's own files; everything but the style is escaped.

    Read: config.yaml, history.jsonl, metrics.json, pages/pictures.json and the names of galleries, each where it is there.

    Returns:
        The page's path.
    """
    config = _mapping(folder / "config.yaml")
    pictures = kept(folder)
    name = f"{config.get('name', 'run')}, seed {config.get('seed', '?')}"
    body = [
        f"<h1>{escape(name)}</h1>",
        f'<p class="about">Run {escape(folder.name)}{_drawn(pictures)}. ',
        '<span class="local">This page stays on this machine: it may show patients\' images.</span></p>',
        *_galleries(folder),
        *_results(folder / "metrics.json"),
        *_curves(folder),
        *(part for kind in KINDS for part in _gallery(kind, [p for p in pictures if p.kind == kind])),
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    path = folder / PAGES / INDEX
    write_atomic(path, lambda file: file.write(page.encode()))
    return path


def refresh_page(folder: Path) -> None:
    """Write the page of a run anew if it has one, such as after its evaluation."""
    if (folder / PAGES / INDEX).is_file():
        write_page(folder)


def _mapping(path: Path) -> Mapping[str, Any]:
    content = read_yaml(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _drawn(pictures: Sequence[Kept]) -> str:
    last = max(pictures, key=lambda picture: picture.step, default=None)
    return "" if last is None else f"; pictures of epoch {last.epoch + 1}, step {last.step + 1}"


def _galleries(folder: Path) -> Iterator[str]:
    """Link the pages of what was retrieved."""
    found = sorted(path.name for path in (folder / PAGES).glob("*.html") if path.name != INDEX)
    if found:
        links = ", ".join(f'<a href="{escape(name)}">{escape(name.removesuffix(".html"))}</a>' for name in found)
        yield f'<p class="about">Reports that images found: {links}</p>'


def _curves(folder: Path) -> Iterator[str]:
    charts = [drawn for title, lines in panels(series_of(folder)).items() if (drawn := chart(title, lines))]
    if charts:
        yield "<h2>Curves</h2>"
        yield '<p class="about">Over optimiser steps; the number is the last value.</p>'
        yield f'<div class="curves">{"".join(charts)}</div>'


def _gallery(kind: str, pictures: Sequence[Kept]) -> Iterator[str]:
    """Show the newest pictures of a kind, older ones folded away."""
    if not pictures:
        return
    title, about = TITLES[kind]
    yield f'<h2>{escape(title)}</h2><p class="about">{escape(about)}</p>'
    steps = sorted({picture.step for picture in pictures}, reverse=True)
    wide = " wide" if kind in WIDE else ""
    for step in steps:
        some = [picture for picture in pictures if picture.step == step]
        shown = f'<div class="pictures{wide}">{"".join(map(_figure, some))}</div>'
        told = f"epoch {some[0].epoch + 1}, step {step + 1}"
        yield shown if step == steps[0] else f"<details><summary>{told}</summary>{shown}</details>"


def _figure(picture: Kept) -> str:
    report = f"<details><summary>report</summary>{escape(picture.report)}</details>" if picture.report else ""
    return (
        f'<figure><img src="{escape(picture.file)}" alt="{escape(picture.caption)}" loading="lazy">'
        f"<figcaption>{escape(picture.caption)}<br><small>{escape(picture.image)}</small>{report}</figcaption></figure>"
    )


def _results(path: Path) -> Iterator[str]:
    """Show what metrics.json says of each evaluation, per label or corruption with the mean first, and of its subsets."""
    for entry in read_json(path).values() if path.is_file() else ():
        values = entry["values"]
        title = f"{entry['name']}: {values.get('score_split', '')} split"
        yield from _scores(title, values)
        for name, part in (values.get("subsets") or {}).items():
            yield from _scores(f"{title}, {name}", part)


def _scores(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    rows = {"mean": values.get("mean") or {}} | (values.get("labels") or {})
    if "clean" in values:
        rows = {"mean of all corruptions": rows["mean"], "clean": values["clean"]["mean"]}
        rows |= {name: found["mean"] for name, found in values["corruptions"].items()}
    columns = [c for c in COLUMNS if any(isinstance(row.get(c), int | float) for row in rows.values())]
    if not columns:
        return
    head = "".join(f"<th>{escape(column)}</th>" for column in ("label", *columns))
    first = next(iter(rows))
    lines = "".join(
        f"<tr{' class=mean' if label == first else ''}><td>{escape(label)}</td>"
        + "".join(f"<td>{_cell(row, column)}</td>" for column in columns) + "</tr>"
        for label, row in rows.items()
    )  # fmt: skip
    count = values.get("images", values.get("reports", "?"))
    yield f"<h2>{escape(title)}, {count} images</h2>"
    yield f"<table><tr>{head}</tr>{lines}</table>"


def _cell(row: Mapping[str, Any], column: str) -> str:
    value, low, high = (row.get(name) for name in (column, f"{column}_low", f"{column}_high"))
    if not isinstance(value, int | float):
        return "&ndash;"
    told = f"{value:.3f}" if isinstance(value, float) else str(value)
    both = isinstance(low, int | float) and isinstance(high, int | float)
    return f"{told} <small>{low:.3f}&ndash;{high:.3f}</small>" if both else told

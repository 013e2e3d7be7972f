"""How is a data set seen at a glance? One page of its numbers, contact sheets and reports, that asks nothing of a network."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cxrvl.data.summary import DECADE, Summary
from cxrvl.tables.dataset.blocks import Block, blocks, count, labels_by_split, notes, plain
from cxrvl.tables.dataset.style import STYLE
from cxrvl.tables.dataset.terminal import synthetic, title

# Nothing may be fetched or run, whatever a report's text holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
WORD_BINS = 24


@dataclass(frozen=True)
class Tile:
    """One picture: `image` is a data: address, "" where unreadable; `caption` and `key` are plain text."""

    image: str
    caption: str
    key: str
    reason: str = ""


@dataclass(frozen=True)
class Sheet:
    """Pictures under a title; about: how they were chosen."""

    title: str
    tiles: Sequence[Tile]
    about: str = ""


@dataclass(frozen=True)
class Story:
    """One report beside its images.

    sections: name -> HTML by `marks.marked`. said: what the rule labeler reads, stated: what the table's labels say; by
    word, present, uncertain or absent.
    """

    heading: str
    tiles: Sequence[Tile]
    sections: Mapping[str, str]
    said: Mapping[str, Sequence[str]]
    stated: Mapping[str, Sequence[str]]


def page(
    summaries: Sequence[Summary],
    parts: Sequence[Summary],
    more: Sequence[Block],
    sheets: Sequence[Sheet],
    stories: Sequence[Story],
    local: bool,
) -> str:
    """Return the page as HTML.

    summaries: of the images, and of the reports where these are more. parts: of each source of a mixture. more: further
    blocks of numbers. local: whether the page shows data that must stay on this machine.
    """
    names = " + ".join(dict.fromkeys(plain(name) for summary in summaries for name in summary.datasets))
    body = [
        f"<h1>{escape(names)}</h1>",
        *(f'<p class="synthetic"><b>Synthetic.</b> {escape(line)}</p>' for line in {synthetic(s): 0 for s in summaries} if line),
        '<p class="local">This page holds radiographs, report text or patient keys: it stays on this machine.</p>'
        if local else "",
        *(piece for number, summary in enumerate(summaries) for piece in _numbers(summary, [] if number else more)),
        *_parts(parts),
        *(_sheet(sheet) for sheet in sheets),
        *_stories(stories),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(names)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(piece for piece in body if piece)
        + "\n</body></html>\n"
    )


def _numbers(summary: Summary, more: Sequence[Block]) -> Iterator[str]:
    yield f"<h2>{escape(title(summary))}</h2>"
    if told := notes(summary):
        yield '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in told) + "</ul>"
    yield '<div class="blocks">' + "".join(map(_block, [*blocks(summary), *more])) + _charts(summary) + "</div>"
    whole = labels_by_split(summary)
    if whole is not None:
        yield f"<details><summary>{escape(whole.title)}</summary>{_table(whole)}</details>"


def _parts(parts: Sequence[Summary]) -> Iterator[str]:
    for part in parts:
        yield f"<details><summary>{escape(title(part))}</summary>{''.join(_numbers(part, []))}</details>"


def _block(block: Block) -> str:
    about = f'<p class="about">{escape(block.about)}</p>' if block.about else ""
    return f"<section><h3>{escape(block.title)}</h3>{_table(block)}{about}</section>"


def _table(block: Block) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in block.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _charts(summary: Summary) -> str:
    """Draw ages by decade and words per section."""
    drawn = []
    if summary.decades.size:
        names = [str(DECADE * i) for i in range(summary.decades.size)]
        drawn.append(_bars(f"Age: {summary.unit}s per decade", summary.decades, names))
    for name, words in summary.lengths.items():
        if words.size:
            top = int(np.percentile(words, 99)) + 1
            counted, edges = np.histogram(np.minimum(words, top), bins=min(WORD_BINS, top), range=(0, top))
            drawn.append(_bars(f"Words of {name}: studies", counted, [f"{edge:.0f}" for edge in edges[:-1]]))
    return "".join(drawn)


def _bars(title: str, values: np.ndarray, names: Sequence[str]) -> str:
    """Draw a histogram as inline SVG; each bar tells its count."""
    width, height, left, base = 320.0, 130, 6, 104
    step = (width - 2 * left) / len(values)
    most = max(int(values.max()), 1)
    every = -(-len(values) // 8)
    parts = []
    for i, (value, name) in enumerate(zip(values.tolist(), names, strict=True)):
        tall = 80 * value / most
        x = left + i * step
        parts.append(f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{max(step - 1, 1):.1f}" height="{tall:.1f}">'
                     f"<title>{escape(name)}: {count(value)}</title></rect>")  # fmt: skip
        if i % every == 0:
            parts.append(f'<text x="{x:.1f}" y="{base + 16}">{escape(name)}</text>')
    return (
        f'<section><h3>{escape(title)}</h3><svg viewBox="0 0 {width:.0f} {height}" role="img" '
        f'aria-label="{escape(title)}"><text x="{left}" y="14">most: {count(most)}</text>{"".join(parts)}</svg></section>'
    )


def _sheet(sheet: Sheet) -> str:
    about = f'<p class="about">{escape(sheet.about)}</p>' if sheet.about else ""
    tiles = "".join(map(_figure, sheet.tiles))
    return f'<h2>{escape(plain(sheet.title))}</h2>{about}<div class="sheet">{tiles}</div>'


def _figure(tile: Tile) -> str:
    caption, key = escape(plain(tile.caption)), escape(plain(tile.key))
    shown = f'<img src="{tile.image}" alt="{caption}" loading="lazy">' if tile.image else ""
    if not tile.image:
        shown = f'<p class="unreadable">unreadable: {escape(plain(tile.reason))}</p>'
    return f"<figure>{shown}<figcaption>{caption}<br><small>{key}</small></figcaption></figure>"


def _stories(stories: Sequence[Story]) -> Iterator[str]:
    if not stories:
        return
    yield "<h2>Reports</h2>"
    yield (
        '<p class="about">In colour: what the rule labeler reads in findings and impression, as <mark class="present">'
        'present</mark>, <mark class="uncertain">uncertain</mark> or <mark class="absent">absent</mark>; point at a mark '
        "for its label and the words that decided. Indications are not judged.</p>"
    )
    yield from map(_story, stories)


def _story(story: Story) -> str:
    tiles = "".join(map(_figure, story.tiles))
    texts = "".join(f"<h4>{escape(name)}</h4><p>{text}</p>" for name, text in story.sections.items())
    said = _words("rule labeler", story.said) + _words("table", story.stated)
    return (
        f'<article><h3>{escape(plain(story.heading))}</h3><div class="story"><div class="sheet">{tiles}</div>'
        f'<div class="text">{texts}{said}</div></div></article>'
    )


def _words(who: str, said: Mapping[str, Sequence[str]]) -> str:
    if not said:
        return ""
    parts = "; ".join(f"{word} {', '.join(map(plain, labels))}" for word, labels in said.items())
    return f'<p class="about"><b>{escape(who)}:</b> {escape(parts)}</p>'

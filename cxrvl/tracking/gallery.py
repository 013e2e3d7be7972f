"""Which reports did an image find? A page of query images, the nearest reports, and where their words lie in the image."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrvl.files import write_atomic
from cxrvl.tracking.pictures import PAGES

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Hit:
    """One report that was found.

    name: of its study. near: similarity. report: its text. own: whether it is the query's own; copy: reads the same.
    shared, missed, added: findings that both reports claim, the own one alone, and this one alone.
    """

    name: str
    near: float
    report: str
    own: bool
    copy: bool
    shared: tuple[str, ...]
    missed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True)
class Query:
    """One image with what it found.

    pixels: uint8 (h, w). name: image key. report, findings: its own, as claimed by the rule labeler. rank: of its own
    report, ties in the middle. near: similarity to it. maps: (words, picture) of its report's words.
    """

    pixels: Pixels
    name: str
    report: str
    findings: tuple[str, ...]
    rank: float
    near: float
    hits: tuple[Hit, ...]
    maps: tuple[tuple[str, Pixels], ...] = field(default=())

    @property
    def caption(self) -> str:
        """What a logger may be told: ranks and findings, no report text, no key."""
        first = self.hits[0]
        parts = [f"own report at rank {self.rank:g}"]
        for words, names in (("agrees on", first.shared), ("misses", first.missed), ("adds", first.added)):
            parts += [f"{words} {', '.join(names)}"] if names else []
        return f"{parts[0]}; nearest {'; '.join(parts[1:]) or 'claims nothing, as its own'}"


STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fafafa; margin: 0 auto; max-width: 1240px;
  padding: 24px; }
h1 { font-size: 22px; margin: 0; } p.about { color: #555; margin: 2px 0 18px; max-width: 95ch; font-size: 13.5px; }
.local { color: #8a4b00; }
article { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 12px; margin: 0 0 16px; display: grid;
  grid-template-columns: 270px 1fr; gap: 16px; }
article img { width: 256px; background: #000; display: block; } small { color: #666; overflow-wrap: anywhere; }
ol { margin: 0; padding-left: 24px; } li { margin-bottom: 10px; padding: 4px 8px; border-left: 4px solid #ddd; }
li.own { border-color: #1a7f37; background: #f0faf2; } li.copy { border-color: #6a9955; }
.said { white-space: pre-line; font-size: 13.5px; } .near { font-weight: 600; font-variant-numeric: tabular-nums; }
.chip { display: inline-block; font-size: 12px; border-radius: 9px; padding: 0 8px; margin: 0 4px 2px 0; }
.shared { background: #d8f0dd; } .missed { background: #fbe0d0; text-decoration: line-through; } .added { background: #e0e6fb; }
.maps { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 10px; } figure { margin: 0; }
.maps img { width: 150px; } figcaption { font-size: 12.5px; max-width: 150px; }
"""


def write_gallery(folder: Path, name: str, title: str, about: str, queries: Sequence[Query]) -> Path:
    """Write `<run>/pages/<name>.html`, pictures within it; everything but the style is escaped.

    Returns:
        The page's path.
    """
    body = "\n".join(part for query in queries for part in _article(query))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        f'<h1>{escape(title)}</h1><p class="about">{escape(about)} Findings are those that a rule labeler reads in both '
        'reports: <span class="chip shared">both</span><span class="chip missed">the own one alone</span>'
        '<span class="chip added">the one found alone</span> '
        '<span class="local">This page stays on this machine: it may show patients\' images and reports.</span></p>\n'
        f"{body}\n</body></html>\n"
    )
    path = folder / PAGES / f"{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(page.encode()))
    return path


def _article(query: Query) -> Iterator[str]:
    yield f'<article><div><img src="{_embedded(query.pixels)}" alt="query image" loading="lazy">'
    yield f"<small>{escape(query.name)}</small><br>own report at rank {query.rank:g}, "
    yield f'similarity <span class="near">{query.near:.3f}</span><br>{_chips("shared", query.findings)}'
    yield f'<details><summary>own report</summary><div class="said">{escape(query.report)}</div></details></div>'
    yield f"<ol>{''.join(map(_hit, query.hits))}</ol>"
    if query.maps:
        figures = "".join(
            f'<figure><img src="{_embedded(pixels)}" alt="" loading="lazy"><figcaption>{escape(words)}</figcaption></figure>'
            for words, pixels in query.maps
        )
        yield f'<div class="maps">{figures}</div>'
    yield "</article>"


def _hit(hit: Hit) -> str:
    kind = ' class="own"' if hit.own else ' class="copy"' if hit.copy else ""
    told = " · its own report" if hit.own else " · reads as its own" if hit.copy else ""
    chips = _chips("shared", hit.shared) + _chips("missed", hit.missed) + _chips("added", hit.added)
    return (
        f'<li{kind}><span class="near">{hit.near:.3f}</span>{told} <small>{escape(hit.name)}</small> {chips}'
        f'<div class="said">{escape(hit.report)}</div></li>'
    )


def _chips(kind: str, names: Sequence[str]) -> str:
    return "".join(f'<span class="chip {kind}">{escape(name)}</span>' for name in names)


def _embedded(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

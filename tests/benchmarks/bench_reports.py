"""How many real reports per second go through parsing, cleaning, style and labels on one core?"""

import tarfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cxrvl.data.labeler import Labeler, labeler
from cxrvl.data.reports.cleaning import clean
from cxrvl.data.reports.policy import compose
from cxrvl.data.reports.sections import parse_report
from cxrvl.data.reports.style import STYLES, apply

REPORTS_PER_SECOND = 1500
STRENGTHS = {name: 0.5 for name in STYLES if name not in ("anatomy", "omit", "impression_only")}


@pytest.fixture(scope="module")
def texts(shared: Path) -> list[str]:
    """All Open-i reports, written with headers as a hospital's system prints them."""
    found = []
    with tarfile.open(shared / "data/openi/NLMCXR_reports.tgz") as archive:
        for member in archive:
            if member.name.endswith(".xml"):
                root = ElementTree.fromstring(archive.extractfile(member).read())
                parts = {part.get("Label"): part.text or "" for part in root.iter("AbstractText")}
                found.append("\n\n".join(f"{name}: {text}" for name, text in parts.items() if text))
    return found


def seconds(steps: dict, texts: list[str]) -> dict[str, float]:
    """CPU seconds of each step over all texts, each on what the one before it made."""
    taken = {}
    for name, step in steps.items():
        start = time.process_time()
        texts = [step(text, number) for number, text in enumerate(texts)]
        taken[name] = time.process_time() - start
    return taken


def test_reports_go_through_fast_enough(texts):
    label = Labeler().label
    steps = {
        "parse": lambda text, _: compose(parse_report(text), "both_else_report").text,
        "clean": lambda text, _: clean(text),
        "style": lambda text, number: apply(text, STRENGTHS, seed=1, key=str(number)).text,
        "label": lambda text, _: label(text),
    }
    seconds(steps, texts[:200])  # reads the rules
    rates = []
    for _ in range(3):
        labeler._cached.cache_clear()  # every report is new, as on a first pass over a set
        taken = seconds(steps, texts)
        rates.append(len(texts) / sum(taken.values()))
    parts = ", ".join(f"{name} {len(texts) / part:,.0f}" for name, part in taken.items())
    print(
        f"\nreports, all {len(STRENGTHS)} styles: {max(rates):,.0f}/s of CPU time (at least {REPORTS_PER_SECOND:,}; {parts})"
    )
    assert max(rates) >= REPORTS_PER_SECOND

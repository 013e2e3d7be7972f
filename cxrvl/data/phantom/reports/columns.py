"""Which columns do reports and follow-ups add to the phantom's study table?"""

from collections.abc import Sequence

from cxrvl.data.phantom.reports.facts import Study
from cxrvl.data.phantom.reports.grammar import STYLES
from cxrvl.data.phantom.reports.writer import write

REPORTS = ("none", *STYLES, "by_hospital")
# Which house style each hospital keeps to.
HOUSES = {"A": "prose", "B": "terse", "C": "verbose"}


def report_columns(seen: Sequence[Study], reports: str) -> dict[str, list[str]]:
    """Write all reports: section -> one text per study, "" where its style has no such section.

    reports: a style's name, or "by_hospital" (hospital A writes prose, B terse, C verbose). `report` is the whole with headers.
    """
    written = [write(study, HOUSES[study.hospital] if reports == "by_hospital" else reports) for study in seen]
    sections = dict.fromkeys(name for text in written for name in text)
    return {section: [text.get(section, "") for text in written] for section in sections}


def course_columns(seen: Sequence[Study], labels: Sequence[str]) -> dict[str, list[str] | list[int]]:
    """Say what has become of each label since the visit before.

    `days` since then, 0 at a first visit; change/<label>: new, worse, better, unchanged, resolved, or "" where it is
    absent at both visits or there was none before.
    """
    columns: dict[str, list[str] | list[int]] = {"days": [study.days for study in seen]}
    for label in labels:
        changes = []
        for study in seen:
            now = next((fact.change for fact in study.found if fact.finding == label), "")
            changes.append("resolved" if any(fact.finding == label for fact in study.gone) else now)
        columns[f"change/{label}"] = changes
    return columns

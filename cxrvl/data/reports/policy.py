"""Which sections of a report become the text a model reads, and which characters of it are which?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.sections import Report
from cxrvl.data.reports.spans import Span
from cxrvl.errors import ConfigError

Sections = Mapping[str, str] | Report
BETWEEN = " "
"""Between two sections, and between instruction and report."""


@dataclass(frozen=True)
class JoinedText:
    """A text with the places of its parts.

    text: instruction and report, joined by one space. instruction, body: their spans, empty where absent.
    parts: the span of each section inside `text`. `body` covers all parts, so that pooling can leave the rest out.
    """

    text: str
    instruction: Span
    body: Span
    parts: Mapping[str, Span]


POLICIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "impression": (("impression",),),
    "findings": (("findings",),),
    "both": (("findings", "impression"),),
    "impression_first": (("impression", "findings"),),
    "impression_else_findings": (("impression",), ("findings",), ("report",)),
    "findings_else_impression": (("findings",), ("impression",), ("report",)),
    "both_else_report": (("findings", "impression"), ("report",)),
    "report": (("report",), ("findings", "impression")),
    "everything": (("indication", "technique", "comparison", "findings", "impression"), ("report",)),
    "notes": (("notes",),),
}
"""Policy -> what to take, tried in order: the sections of the first entry of which at least one is there.

`report` is the whole text of a report without headers, or what the source gives as undivided text.
"""


def check_policy(policy: str) -> str:
    """Return a policy's name; ConfigError names the nearest if there is none of that name."""
    if policy not in POLICIES:
        raise ConfigError(f"unknown section policy '{policy}'{did_you_mean(policy, list(POLICIES))}")
    return policy


def compose(
    report: Sections, policy: str, instruction: str = "", change: Callable[[str, str], str] | None = None
) -> JoinedText:
    """Join the sections a policy asks for, behind an instruction.

    Args:
        report: a parsed report, or sections by name (a row of a study table).
        policy: a name of `POLICIES`. Nothing is found where the report lacks all it asks for: the body is then empty,
            and the caller decides (and counts).
        change: called with (section, text) for each section, such as a style; its result is taken.
    """
    check_policy(policy)
    texts = _texts(report)
    chosen: Sequence[str] = ()
    for names in POLICIES[policy]:
        chosen = [name for name in names if texts.get(name)]
        if chosen:
            break
    pieces = {name: change(name, texts[name]) if change else texts[name] for name in chosen}
    text = instruction.strip()
    head = Span(0, len(text))
    parts: dict[str, Span] = {}
    for name, piece in pieces.items():
        stripped = piece.strip()
        if not stripped:
            continue
        text = f"{text}{BETWEEN}{stripped}" if text else stripped
        parts[name] = Span(len(text) - len(stripped), len(text))
    spans = list(parts.values())
    body = Span(spans[0].start, spans[-1].end) if spans else Span(len(text), len(text))
    return JoinedText(text, head, body, parts)


def _texts(report: Sections) -> dict[str, str]:
    if isinstance(report, Report):
        found = {
            name: report.section(name) for name in ("findings", "impression", "indication", "comparison", "technique")
        }
        return {**found, "report": report.text if not report.sectioned else ""}
    return {name: text.strip() for name, text in report.items() if isinstance(text, str) and text.strip()}

"""What text does a model read of each report? Its sections cleaned once, joined by a policy, in a style per epoch."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.data.reports.cleaning import DEFAULT, clean
from cxrvl.data.reports.policy import POLICIES, JoinedText, check_policy, compose
from cxrvl.data.reports.sections import parse_report
from cxrvl.data.reports.style import IMPRESSION_ONLY, apply, check_styles, style_generator
from cxrvl.data.reports.table import ReportTable
from cxrvl.errors import ConfigError

READING_KEYS = ("policy", "instruction", "cleaning", "style", "variants")
LENGTHS = ("words", "characters")
_WORD = re.compile(r"[^\W_]\S*")
"""A word from its first letter or digit on; whatever a text is made of, it is gone through once."""
_PARSED = ("findings", "impression", "indication", "comparison", "technique")


@dataclass(frozen=True)
class Reading:
    """How the reports of one source are read.

    policy: a name of `cxrvl.data.reports.policy.POLICIES`. instruction: text before every report.
    cleaning: names of `cxrvl.data.reports.cleaning.STEPS`, in order.
    style: rewriting -> strength, in order, see `cxrvl.data.reports.style.STYLES`; in training alone. Each section is
    rewritten by itself; `impression_only` leaves out the other sections where there is an impression.
    variants: how many styled versions a report has, which come round epoch after epoch; None = a new one in each. Few of
    them let a text tower that never learns compute each once.
    Raises ConfigError for a name there is not, with the nearest, or fewer variants than one.
    """

    policy: str = "findings_else_impression"
    instruction: str = ""
    cleaning: Sequence[str] = DEFAULT
    style: Mapping[str, float] = field(default_factory=dict)
    variants: int | None = None

    def __post_init__(self) -> None:
        check_policy(self.policy)
        if isinstance(self.cleaning, str):
            raise ConfigError(f"cleaning is the word {self.cleaning!r}; expected a list: cleaning: [{self.cleaning}]")
        clean("", self.cleaning)
        check_styles(self.style)
        if self.variants is not None and self.variants < 1:
            raise ConfigError(f"variants={self.variants}; expected at least one version of a report, or null")
        if self.style.get(IMPRESSION_ONLY) and "impression" not in self.sections:
            raise ConfigError(
                f"style {IMPRESSION_ONLY} with the policy '{self.policy}', which reads no impression; take a policy that "
                "does, such as 'both', or leave the style out"
            )

    @property
    def versions(self) -> int | None:
        """How many different texts a report has in training; None = as many as epochs."""
        return self.variants if self.style else 1

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections this policy may take."""
        return tuple(dict.fromkeys(name for names in POLICIES[self.policy] for name in names))


class Texts:
    """The texts of a report table.

    table: one row per report. readings: data set -> how its reports are read. seed: of the styles.
    Sections are cleaned here, once; a report that is one undivided text is parsed before. Where text is composed, in
    which epoch and process, does not matter: a style's chance is a hash of (seed, epoch, data set, study, section).
    """

    def __init__(self, table: ReportTable, readings: Mapping[str, Reading], seed: int) -> None:
        frame = table.frame
        self.seed = seed
        self.readings = [readings[name] for name in frame["dataset"]]
        self.keys = (frame["dataset"] + "/" + frame["study"]).tolist()
        columns = {name: frame[name].tolist() for name in table.sections}
        self.sections = [
            _cleaned({name: column[row] for name, column in columns.items()}, reading)
            for row, reading in enumerate(self.readings)
        ]

    def __len__(self) -> int:
        return len(self.keys)

    def compose(self, row: int, epoch: int | None = None) -> JoinedText:
        """Join one report's text: in the style of an epoch, or plain (None). Its body is empty where `empty` says so.

        A rewriting that would leave nothing of a section leaves it as it was.
        """
        reading = self.readings[row]
        if epoch is None or not reading.style:
            return compose(self.sections[row], reading.policy, reading.instruction)
        if reading.variants is not None:
            epoch %= reading.variants

        style, sections = dict(reading.style), self.sections[row]
        alone = style.pop(IMPRESSION_ONLY, 0.0)
        if "impression" in sections:
            draw = style_generator(self.seed, epoch, self.keys[row], IMPRESSION_ONLY).random()
            sections = {"impression": sections["impression"]} if draw < alone else sections

        def styled(section: str, text: str) -> str:
            key = f"{self.keys[row]}/{section}"
            return apply(text, style, seed=self.seed, key=key, epoch=epoch).text.strip() or text

        return compose(sections, reading.policy, reading.instruction, styled)

    def empty(self, least_words: int = 1) -> np.ndarray:
        """Which reports have fewer words than that of what their policy asks for, (N,) bool; a word has a letter or digit."""
        joined = (self.compose(row) for row in range(len(self)))
        words = (islice(_WORD.finditer(one.text, one.body.start, one.body.end), least_words) for one in joined)
        return np.array([sum(1 for _ in found) < least_words for found in words], dtype=bool)

    def lengths(self, unit: str = "words") -> np.ndarray:
        """Length of every plain text with its instruction, in words or characters, (N,) int64."""
        if unit not in LENGTHS:
            raise ConfigError(f"a text's length is counted in {unit!r}; expected {' or '.join(LENGTHS)}")
        texts = (self.compose(row).text for row in range(len(self)))
        return np.array([len(text.split()) if unit == "words" else len(text) for text in texts], dtype=np.int64)


def _cleaned(sections: Mapping[str, Any], reading: Reading) -> dict[str, str]:
    """The non-empty sections a reading may take, cleaned."""
    given = {name: str(text) for name, text in sections.items() if not pd.isna(text) and str(text).strip()}
    if "report" in given and not any(given.get(name) for name in _PARSED):
        report = parse_report(given["report"])
        if report.sectioned or not report.spans:  # or of headers alone, which say nothing
            del given["report"]
            given |= {name: report.section(name) for name in _PARSED}
    cleaned = {name: clean(text, reading.cleaning) for name, text in given.items() if name in reading.sections}
    return {name: text for name, text in cleaned.items() if text.strip()}

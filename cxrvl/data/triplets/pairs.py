"""Which two texts say the same? Two sections of one report, or a report and its rewriting."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxrvl.data.reports.style import apply, check_styles
from cxrvl.data.reports.texts import Texts
from cxrvl.data.triplets.triplet import WHOLE, TripletTask, check_section, section
from cxrvl.errors import ConfigError


@dataclass(frozen=True)
class SectionPairs(TripletTask):
    """Two sections of one report, such as findings and impression.

    query, positive: names of sections; `report` is the whole report, as the data's policy reads it.
    """

    query: str = "findings"
    positive: str = "impression"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_section(self.query)
        check_section(self.positive)
        if self.query == self.positive:
            raise ConfigError(f"query and positive are both the section {self.query!r}; name two, or use Rewrites")

    def pair(self, texts: Texts, item: int, epoch: int) -> tuple[str, str] | None:
        """Return both sections; None where one is not there or both read alike."""
        query, positive = section(texts, item, self.query), section(texts, item, self.positive)
        return (query, positive) if query and positive and query != positive else None


@dataclass(frozen=True)
class Rewrites(TripletTask):
    """A report, or one section of it, and its rewriting in another style, anew in every epoch.

    of: a section, or `report`. styles: rewriting -> strength, see `cxrvl.data.reports.style.STYLES`.
    """

    styles: Mapping[str, float] = field(default_factory=dict)
    of: str = WHOLE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_section(self.of)
        check_styles(self.styles)
        if not self.styles:
            raise ConfigError("a task of rewrites without styles; name at least one, such as {abbreviate: 0.9}")

    def pair(self, texts: Texts, item: int, epoch: int) -> tuple[str, str] | None:
        """Return the rewriting and what it was made from; None where nothing in it can be rewritten."""
        text = section(texts, item, self.of)
        key = f"{self.key(texts, item)}/{'+'.join(self.styles)}"
        new = apply(text, self.styles, seed=texts.seed, key=key, epoch=epoch).text.strip()
        return (new, text) if new and new != text else None

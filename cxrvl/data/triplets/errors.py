"""Which texts are almost right? Reports with one error put in, as hard negatives of the true one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxrvl.data.reports.errors import ERRORS, check_errors, inject
from cxrvl.data.reports.style import apply, check_styles
from cxrvl.data.reports.texts import Texts
from cxrvl.data.triplets.triplet import WHOLE, TripletTask, check_section, section
from cxrvl.errors import ConfigError


@dataclass(frozen=True)
class ErrorNegatives(TripletTask):
    """A report's rewriting as query, the report as positive, the report with one error as each hard negative.

    of: a section, or `report`. styles: of the query; without any it is the section `query`.
    query: a section that says the same, such as findings, where `of` is impression.
    kinds: of errors, see `cxrvl.data.reports.errors.ERRORS`.
    """

    negatives: int = 1
    of: str = WHOLE
    query: str | None = None
    styles: Mapping[str, float] = field(default_factory=dict)
    kinds: Sequence[str] = tuple(ERRORS)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_section(self.of)
        check_errors(self.kinds)
        check_styles(self.styles)
        if self.query is not None:
            check_section(self.query)
        if self.hard_negatives < 1 or (self.query is None) == (not self.styles) or self.swap:
            raise ConfigError(
                f"error negatives: negatives={self.negatives}, query={self.query}, styles={dict(self.styles)}, "
                f"swap={self.swap}; expected at least 1, either a section or styles for the query, and no swap"
            )

    def pair(self, texts: Texts, item: int, epoch: int) -> tuple[str, str] | None:
        """Return query and true text; None where it has no place for an error."""
        text = section(texts, item, self.of)
        if not text or not self.hard(texts, item, 0, text):
            return None
        if self.query is not None:
            other = section(texts, item, self.query)
            return (other, text) if other and other != text else None
        key = f"{self.key(texts, item)}/query"
        return apply(text, self.styles, seed=texts.seed, key=key, epoch=epoch).text.strip() or text, text

    def hard(self, texts: Texts, item: int, epoch: int, positive: str) -> tuple[str, ...]:
        """Return the text with one error each; fewer, where it offers fewer places."""
        found: dict[str, None] = {}
        for number in range(self.hard_negatives):
            key = f"{self.key(texts, item)}/error{number}"
            wrong = inject(positive, self.kinds, seed=texts.seed, key=key, epoch=epoch)
            if wrong is not None and wrong.text != positive:
                found[wrong.text] = None
        return tuple(found)

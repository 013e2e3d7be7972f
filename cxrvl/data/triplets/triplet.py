"""What is a triplet, and what does a task that makes them have to say?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.policy import BETWEEN
from cxrvl.data.reports.spans import Span
from cxrvl.data.reports.style import style_generator
from cxrvl.data.reports.texts import Texts
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import ConfigError

WHOLE = "report"
"""In the place of a section: what the reading's policy makes of the whole report."""


@dataclass(frozen=True)
class Triplet:
    """One query, what belongs to it, and what does not.

    instruction: before the query, may be empty. negatives: hard ones; as many as the task says, or fewer where the
    report offers none. row: of the report table, whose labels the pair has; None where no report of it is behind it.
    """

    query: str
    positive: str
    negatives: tuple[str, ...] = ()
    instruction: str = ""
    row: int | None = None

    def text(self) -> tuple[str, Span]:
        """Return the query behind its instruction, and where in it the query lies."""
        head = self.instruction.strip()
        text = f"{head}{BETWEEN}{self.query}" if head else self.query
        return text, Span(len(text) - len(self.query), len(text))


@dataclass(frozen=True)
class TripletTask:
    """Base of all tasks: makes triplets of one kind, each a pure function of the report, the seed and the epoch.

    instruction: before every query, none before documents. triplets: at most so many an epoch, None = all there are.
    negatives: hard negatives of a query; None = as many as the task finds, where a task allows it. swap: chance that query
    and positive change places.
    """

    instruction: str = ""
    triplets: int | None = None
    negatives: int | None = 0
    swap: float = 0.0

    def __post_init__(self) -> None:
        if (self.triplets is not None and self.triplets < 1) or self.hard_negatives < 0 or not 0 <= self.swap <= 1:
            raise ConfigError(
                f"triplets={self.triplets}, negatives={self.negatives}, swap={self.swap}; expected at least 1 triplet or "
                "null, no negative number of negatives, and a chance between 0 and 1"
            )

    @property
    def hard_negatives(self) -> int:
        """How many hard negatives every query of a batch has room for; final once `items` was called.

        Raises:
            ConfigError: the task cannot tell by itself.
        """
        if self.negatives is None:
            raise ConfigError(f"negatives=null for {type(self).__name__}; expected a number")
        return self.negatives

    def items(self, texts: Texts, rows: np.ndarray) -> np.ndarray:
        """Return what triplets can be made of, (n,) int64: of these rows of the report table, those that have it all."""
        return np.array([row for row in rows if self.pair(texts, int(row), 0) is not None], dtype=np.int64)

    def pair(self, texts: Texts, item: int, epoch: int) -> tuple[str, str] | None:
        """Return query and positive of an item; None where it offers none."""
        raise NotImplementedError

    def hard(self, texts: Texts, item: int, epoch: int, positive: str) -> tuple[str, ...]:
        """Return hard negatives of an item."""
        return ()

    def make(self, texts: Texts, item: int, epoch: int) -> Triplet:
        """Return the triplet of an item in an epoch."""
        found = self.pair(texts, item, epoch) or self.pair(texts, item, 0)
        assert found is not None, "items() has seen it"
        query, positive = found
        if self.swap and style_generator(texts.seed, epoch, self.key(texts, item), "swap").random() < self.swap:
            query, positive = positive, query
        return Triplet(query, positive, self.hard(texts, item, epoch, positive), self.instruction, self.row(item))

    def key(self, texts: Texts, item: int) -> str:
        """Name an item, for its chance."""
        return texts.keys[item]

    def row(self, item: int) -> int | None:
        """Return the report table's row behind an item."""
        return item


def section(texts: Texts, row: int, name: str) -> str:
    """Return one section of a report, cleaned; "" where there is none. `report` is the whole, as its policy reads it."""
    if name != WHOLE:
        return texts.sections[row].get(name, "")
    joined = texts.compose(row)
    return joined.body.of(joined.text)


def check_section(name: str) -> None:
    """Refuse what is no section; ConfigError names the nearest."""
    if name not in SECTIONS:
        raise ConfigError(f"there is no report section '{name}'{did_you_mean(name, SECTIONS)}")


@dataclass(frozen=True)
class Tasks:
    """Named tasks and the items that each makes of some rows; an item number runs through all of them."""

    tasks: Mapping[str, TripletTask]
    items: Mapping[str, np.ndarray]
    starts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tasks: Mapping[str, TripletTask], texts: Texts, rows: np.ndarray) -> "Tasks":
        """Find the items of every task among rows (n,) of the report table."""
        items = {name: task.items(texts, rows) for name, task in tasks.items()}
        starts, total = {}, 0
        for name, own in items.items():
            starts[name] = total
            total += len(own)
        return cls(tasks, items, starts)

    def numbers(self, name: str) -> np.ndarray:
        """Return the item numbers of a task, (n,) int64."""
        return np.arange(len(self.items[name]), dtype=np.int64) + self.starts[name]

    def find(self, number: int) -> tuple[str, int]:
        """Return the task of an item number, and the item inside it."""
        name = max((start, order, name) for order, (name, start) in enumerate(self.starts.items())
                   if start <= number and len(self.items[name]))[2]  # fmt: skip
        return name, int(self.items[name][number - self.starts[name]])

"""How do triplets that someone else wrote, such as a large language model, enter training? From a checked JSONL file."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.texts import Texts
from cxrvl.data.triplets.triplet import Triplet, TripletTask
from cxrvl.errors import ConfigError, DataError

NEEDED, KNOWN = ("dataset", "study", "query", "positive"), ("dataset", "study", "query", "positive", "negative")


@dataclass(frozen=True)
class ExternalTriplets(TripletTask):
    """Lines of a file: {"dataset": ..., "study": ..., "query": ..., "positive": ..., "negative": ...}, the last optional.

    Each names the report it was made from; only lines whose report is in the split at hand are used, so that no text
    made from a test report is trained on. file: UTF-8, one JSON object a line.
    negatives: None = 1 where any line has one; 0 leaves them all out.
    """

    negatives: int | None = None
    file: str = ""
    _lines: list[Triplet] = field(default_factory=list, init=False, compare=False, repr=False)
    _counts: set[int] = field(default_factory=set, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.file:
            raise ConfigError("external triplets without a file; set file=<path of a JSONL file>")
        if self.hard_negatives > 1:
            raise ConfigError(
                f"external triplets: negatives={self.negatives}, but a line has one at most; set negatives=1, or leave it "
                "to the file: negatives=null"
            )

    @property
    def hard_negatives(self) -> int:
        """1 where lines have a negative, 0 where none has or they are left out."""
        return max(self._counts, default=0) if self.negatives is None else self.negatives

    def items(self, texts: Texts, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the lines made from these reports.

        Raises:
            DataError: no such file, or an empty one; a line that is no triplet, or names a report that is not in the
                table; negatives asked for and none there.
        """
        if not self._lines:
            place = {key: row for row, key in enumerate(texts.keys)}
            self._lines.extend(self._read(place))
            self._counts.update(len(line.negatives) for line in self._lines)
            self._check()
        wanted = {int(row) for row in rows}
        return np.array([n for n, line in enumerate(self._lines) if line.row in wanted], dtype=np.int64)

    def pair(self, texts: Texts, item: int, epoch: int) -> tuple[str, str] | None:
        """Return query and positive of a line."""
        return self._lines[item].query, self._lines[item].positive

    def hard(self, texts: Texts, item: int, epoch: int, positive: str) -> tuple[str, ...]:
        """Return the negative of a line, if it has one that is wanted."""
        return self._lines[item].negatives

    def key(self, texts: Texts, item: int) -> str:
        """Name a line, for its chance of changing places."""
        return f"{texts.keys[self.row(item)]}/line{item}"

    def row(self, item: int) -> int:
        """Return the row of the report a line was made from."""
        row = self._lines[item].row
        assert row is not None, "every line names its report"
        return row

    def _check(self) -> None:
        if not self._lines:
            raise DataError(f"{self.file} has no line; expected one JSON object a line, with {', '.join(NEEDED)}")
        if self.negatives and self._counts == {0}:
            raise DataError(
                f"{self.file}: negatives={self.negatives}, but no line has a negative; add them, or set negatives=0"
            )

    def _read(self, place: dict[str, int]) -> Iterator[Triplet]:
        path = Path(self.file).expanduser()
        if not path.is_file():
            raise DataError(f"external triplets: there is no file {path}")
        # Cut at line feeds alone: inside a JSON text other line separators are characters like any other.
        for number, line in enumerate(path.read_bytes().removeprefix(BOM_UTF8).split(b"\n"), start=1):
            where = f"{path}, line {number}"
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: byte {error.start + 1} is no UTF-8; save the file as UTF-8") from error
            if text.strip():
                yield self._triplet(text, where, place)

    def _triplet(self, line: str, where: str, place: dict[str, int]) -> Triplet:
        content = _content(line, where)
        row = place.get(f"{content['dataset']}/{content['study']}")
        if row is None:
            raise DataError(
                f"{where}: there is no study of that name in the report table; was it left out or misspelt?"
            )
        kept = "negative" in content and self.negatives != 0
        negatives = (content["negative"],) if kept else ()
        return Triplet(content["query"], content["positive"], negatives, self.instruction, row)


def _content(line: str, where: str) -> dict[str, str]:
    """Read one line and check it without the report table."""
    try:
        content: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: no JSON ({error}); expected one object a line") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: a {type(content).__name__}; expected an object with {', '.join(NEEDED)}")
    for key, value in content.items():
        if key not in KNOWN:
            raise DataError(f"{where}: unknown key {key!r}{did_you_mean(ascii(key)[1:-1], KNOWN)}")
        if not isinstance(value, str) or not value.strip():
            found = "empty" if isinstance(value, str) else type(value).__name__
            raise DataError(f"{where}: {key} is {found}; expected text")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise DataError(f"{where}: {key} has half a character (a surrogate without its other half); write it whole")
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise DataError(f"{where}: no {', '.join(missing)}; every line names its report and has a pair")
    for one, other in (("query", "positive"), ("positive", "negative")):
        if other in content and content[one].strip() == content[other].strip():
            raise DataError(f"{where}: {one} and {other} are the same text; there is nothing to learn from it")
    return content

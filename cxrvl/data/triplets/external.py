"""How do triplets that someone else wrote, such as a large language model, enter training? From a checked JSONL file."""

import json
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
    made from a test report is trained on. `negatives` is 1 where any line has one. file: UTF-8, one JSON object a line.
    """

    file: str = ""
    _lines: list[Triplet] = field(default_factory=list, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.file:
            raise ConfigError("external triplets without a file; set file=<path of a JSONL file>")

    def items(self, texts: Texts, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the lines made from these reports.

        Raises:
            DataError: no such file; a line that is no triplet, or names a report that is not in the table.
        """
        place = {key: row for row, key in enumerate(texts.keys)}
        if not self._lines:
            self._lines.extend(self._read(place))
        wanted = {int(row) for row in rows}
        return np.array([n for n, line in enumerate(self._lines) if line.row in wanted], dtype=np.int64)

    def make(self, texts: Texts, item: int, epoch: int) -> Triplet:
        """Return the triplet of a line."""
        return self._lines[item]

    def _read(self, place: dict[str, int]) -> Iterator[Triplet]:
        path = Path(self.file).expanduser()
        if not path.is_file():
            raise DataError(f"external triplets: there is no file {path}")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                yield self._triplet(line, f"{path}, line {number}", place)

    def _triplet(self, line: str, where: str, place: dict[str, int]) -> Triplet:
        try:
            content: Any = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: no JSON ({error}); expected one object a line") from error
        if not isinstance(content, dict):
            raise DataError(f"{where}: a {type(content).__name__}; expected an object with {', '.join(NEEDED)}")
        for key, value in content.items():
            if key not in KNOWN:
                raise DataError(f"{where}: unknown key '{key}'{did_you_mean(str(key), KNOWN)}")
            if not isinstance(value, str) or not value.strip():
                raise DataError(f"{where}: {key} is {type(value).__name__ if not isinstance(value, str) else 'empty'}; "
                                "expected text")  # fmt: skip
        missing = [key for key in NEEDED if key not in content]
        if missing:
            raise DataError(f"{where}: no {', '.join(missing)}; every line names its report and has a pair")
        row = place.get(f"{content['dataset']}/{content['study']}")
        if row is None:
            raise DataError(
                f"{where}: there is no study of that name in the report table; was it left out or misspelt?"
            )
        negatives = (content["negative"],) if "negative" in content and self.negatives else ()
        return Triplet(content["query"], content["positive"], negatives, self.instruction, row)

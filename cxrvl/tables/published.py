"""Which numbers were published, where, under which split and protocol, and were they verified?"""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.tables.toml_reader import file_name

COLUMNS = ("row", "group", "metric", "value", "sd", "unit", "split", "protocol", "source", "status", "note")
CONTEXT = "context/"
"""Prefix of rows that no experiment reproduces: shown beside the table, never subtracted from."""

Status = Literal["verified", "unverified"]
_STATUS = ("verified", "unverified")
_UNITS = {"percent": 100.0, "fraction": 1.0}


@dataclass(frozen=True)
class PublishedNumber:
    """One published value of a metric for a label or group (``group``).

    ``value`` and ``sd`` are fractions in [0, 1], whatever the ``unit`` of the source; ``sd`` is None where none was
    published; ``decimals`` of a percent point were published. Shown as unverified unless ``status`` is "verified".
    """

    row: str
    group: str
    metric: str
    value: float
    sd: float | None
    unit: str
    decimals: int
    split: str
    protocol: str
    source: str
    status: Status
    note: str

    @property
    def is_context(self) -> bool:
        """True for a number without an experiment row of ours."""
        return self.row.startswith(CONTEXT)

    @property
    def name(self) -> str:
        """The row's name without the context prefix."""
        return self.row.removeprefix(CONTEXT)


@dataclass(frozen=True)
class Published:
    """The published numbers of one table folder."""

    numbers: tuple[PublishedNumber, ...]
    origin: str

    def get(self, row: str, group: str, metric: str) -> PublishedNumber | None:
        """The number for a row, label or group, and metric; None where nothing was published."""
        for number in self.numbers:
            if (number.row, number.group, number.metric) == (row, group, metric):
                return number
        return None

    @property
    def context(self) -> tuple[PublishedNumber, ...]:
        """Numbers of other systems, in file order."""
        return tuple(number for number in self.numbers if number.is_context)

    def check_rows(self, rows: set[str]) -> None:
        """Raise ConfigError for a number whose row is neither an experiment row nor ``context/...``."""
        for number in self.numbers:
            if not number.is_context and number.row not in rows:
                raise ConfigError(
                    f"{self.origin}: published row {number.row!r} is no row of any line"
                    f"{did_you_mean(number.row, sorted(rows))}; name it '{CONTEXT}{number.row}' if it is none of ours"
                )


def load_published(path: Path) -> Published:
    """Read ``published.csv``; an absent file means that nothing was published.

    Raises ConfigError naming file and line for a missing or unknown column, a value out of range, an unknown unit or
    status, an empty source or split, and a number given twice.
    """
    origin = file_name(path)
    if not path.exists():
        return Published((), origin)
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True)
    header = tuple(reader.fieldnames or ())
    for name in header:
        if name not in COLUMNS:
            raise ConfigError(f"{origin}: unknown column {name!r}{did_you_mean(name, COLUMNS)}")
    for name in COLUMNS:
        if name not in header:
            raise ConfigError(f"{origin}: column {name!r} is missing; expected {', '.join(COLUMNS)}")
    numbers: list[PublishedNumber] = []
    seen: set[tuple[str, str, str]] = set()
    try:
        for record in reader:
            where = f"{origin}, line {reader.line_num}"
            number = _number(record, where)
            key = (number.row, number.group, number.metric)
            if key in seen:
                raise ConfigError(f"{where}: {'/'.join(key)} is given twice; keep one and put the other in its note")
            seen.add(key)
            numbers.append(number)
    except csv.Error as error:
        raise ConfigError(f"{origin}, line {reader.line_num}: not valid CSV: {error}") from None
    return Published(tuple(numbers), origin)


def _number(record: dict[str, str], where: str) -> PublishedNumber:
    if None in record or None in record.values():
        raise ConfigError(f"{where}: expected {len(COLUMNS)} fields; quote fields that hold a comma")
    text = {name: value.strip() for name, value in record.items()}
    for name in ("row", "group", "metric", "split", "source"):
        if not text[name]:
            raise ConfigError(f"{where}: {name!r} is empty; every published number needs it")
    if text["unit"] not in _UNITS:
        raise ConfigError(f"{where}: unknown unit {text['unit']!r}; expected percent or fraction")
    if text["status"] not in _STATUS:
        raise ConfigError(f"{where}: unknown status {text['status']!r}; expected verified or unverified")
    return PublishedNumber(
        row=text["row"],
        group=text["group"],
        metric=text["metric"],
        value=_fraction(text["value"], text["unit"], where),
        sd=_fraction(text["sd"], text["unit"], where) if text["sd"] else None,
        unit=text["unit"],
        decimals=max(0, len(text["value"].partition(".")[2]) - (2 if text["unit"] == "fraction" else 0)),
        split=text["split"],
        protocol=text["protocol"],
        source=text["source"],
        status=cast(Status, text["status"]),
        note=text["note"],
    )


def _fraction(text: str, unit: str, where: str) -> float:
    try:
        value = float(text) / _UNITS[unit]
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number") from None
    if not math.isfinite(value) or not 0 <= value <= 1:
        raise ConfigError(f"{where}: {text} {unit} lies outside 0 to {_UNITS[unit]:g}; is the unit right?")
    return value

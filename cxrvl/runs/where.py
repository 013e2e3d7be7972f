"""Which runs are meant by `experiment=phantom/* status=failed model.groups=16`?"""

import json
import operator
import re
import shlex
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from cxrvl.config.nearest import did_you_mean, nearest
from cxrvl.errors import ConfigError

CONDITION = re.compile(r"([^<>=!]+)(>=|<=|!=|==|=|>|<)(.*)", re.DOTALL)
ORDERS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
SHORT = {"experiment": "name", "state": "status", "split": "split_name", "id": "run"}
"""What people call some fields of a status record."""


@dataclass(frozen=True)
class Condition:
    """One condition on one field of a run.

    Args:
        key: as it was written.
        sign: =, != (glob patterns), >, >=, <, <= (numbers).
        value: what to compare with.
    """

    key: str
    sign: str
    value: str

    def holds(self, found: Any) -> bool:
        """Return whether a field's value, None where a run has none, fulfils the condition."""
        if self.sign in ORDERS:
            number = _number(found)
            return number is not None and ORDERS[self.sign](number, float(self.value))
        alike = _alike(found, self.value)
        return alike if self.sign == "=" else not alike


def conditions(words: Iterable[str]) -> list[Condition]:
    """Read conditions, several in one word where spaces separate them; all of them have to hold.

    Raises:
        ConfigError: a word that is no condition, or an order that compares with no number.
    """
    found = []
    for word in words:
        try:
            parts = shlex.split(word)
        except ValueError as error:
            raise ConfigError(f"--where {word!r} cannot be read ({error}); close the quotation mark") from error
        for part in parts:
            match = CONDITION.fullmatch(part)
            if match is None:
                raise ConfigError(
                    f"--where {part!r} is no condition; expected key=value (or != > >= < <=), such as status=failed"
                )
            key, sign, value = match[1].strip(), match[2].replace("==", "="), match[3].strip()
            if sign in ORDERS and _number(value) is None:
                raise ConfigError(f"--where {part!r} compares with {value!r}; expected a number after {sign}")
            found.append(Condition(key, sign, value))
    return found


def field_of(key: str, known: Collection[str]) -> str:
    """Return the field that a condition's key means: its whole name, or an end that only one field has.

    Fields are `status`, `run`, the keys of the status record, metrics such as findings.mean.auroc, and dotted config
    keys. Where a status, a metric and a config key share a name, they come in this order. Of several metrics with
    the same end, a mean is meant before its parts.

    Raises:
        ConfigError: no field, or several, of this name.
    """
    name = SHORT.get(key, key)
    for kind in ("", "status:", "metric:", "config:"):
        if kind + name in known:
            return kind + name
    ends = sorted(field for field in known if field.endswith(f".{name}"))
    means = [field for field in ends if field.endswith(f".mean.{name}")]
    for fitting in (means, ends):
        if len(fitting) == 1:
            return fitting[0]
    bare = sorted({field.partition(":")[2] or field for field in known})
    if ends:
        shown = ", ".join(field.partition(":")[2] for field in (means or ends)[:6])
        raise ConfigError(f"--where {key}: {len(ends)} fields end so; give more of the name ({shown}, ...)")
    last = {field.rpartition(".")[2]: field for field in bare}
    whole = [*bare, *SHORT]
    close = None if nearest(name, whole) else nearest(name, last)
    hint = f"; did you mean '{last[close]}'?" if close else did_you_mean(name, whole)
    raise ConfigError(f"--where {key}: no run has such a field{hint}")


def _alike(found: Any, pattern: str) -> bool:
    if found is None:
        return pattern == "null"
    # A text is compared as text: a run id of digits, or with one e among them, is no number.
    if isinstance(found, (int, float)) and not isinstance(found, bool) and (right := _number(pattern)) is not None:
        return float(found) == right
    return _text(found) == pattern or fnmatchcase(_text(found), pattern)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    """Return a value as it is written in an override."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

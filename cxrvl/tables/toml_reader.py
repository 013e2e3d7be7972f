"""How is a TOML table read so that no unknown key, wrong type or missing value slips through?"""

from collections.abc import Mapping
from pathlib import Path

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError


class Keys:
    """One TOML table whose every key must be asked for before ``done()``; anything else is a ConfigError.

    ``where`` is the file and the dotted place inside it, as messages show it.
    """

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}: expected a table of keys, found {values!r}")
        self._values = dict(values)
        self._asked: list[str] = []
        self.where = where

    def _take(self, key: str) -> object:
        self._asked.append(key)
        return self._values.get(key)

    def _wrong(self, key: str, found: object, expected: str) -> ConfigError:
        return ConfigError(f"{self.where}.{key}: expected {expected}, found {found!r}")

    def text(self, key: str, default: str | None = None) -> str:
        """A non-empty string; without a default the key is mandatory."""
        value = self._take(key)
        if value is None:
            if default is None:
                raise self._missing(key, "a string")
            return default
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, value, "a non-empty string")
        return " ".join(value.split())

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def integer(self, key: str, default: int, *, least: int) -> int:
        """A whole number >= ``least``."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._wrong(key, value, f"a whole number >= {least}")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A non-empty list of different strings."""
        value = self._take(key)
        if value is None:
            if default is None:
                raise self._missing(key, "a list of strings")
            return default
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, value, "a non-empty list of strings")
        if len(set(value)) != len(value):
            raise self._wrong(key, value, "no entry twice")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A non-empty list of different whole numbers >= 0; mandatory."""
        value = self._take(key)
        if value is None:
            raise self._missing(key, "a list of whole numbers")
        whole = isinstance(value, list) and value and all(type(item) is int and item >= 0 for item in value)
        if not whole or not isinstance(value, list) or len(set(value)) != len(value):
            raise self._wrong(key, value, "a non-empty list of different whole numbers >= 0")
        return tuple(value)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A list of pairs of strings; empty when the key is absent."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._wrong(key, value, "a list of [row, against] pairs")
        pairs = []
        for item in value:
            match item:
                case [str(first), str(second)] if first != second:
                    pairs.append((first, second))
                case _:
                    raise self._wrong(key, item, "a [row, against] pair of two different row names")
        return tuple(pairs)

    def tables(self, key: str) -> list["Keys"]:
        """A non-empty list of tables (``[[...]]`` or inline); mandatory."""
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise (
                self._missing(key, "a non-empty list of tables")
                if value is None
                else self._wrong(key, value, "a non-empty list of tables")
            )
        return [Keys(item, f"{self.where}.{key}[{number}]") for number, item in enumerate(value)]

    def named(self, key: str) -> dict[str, "Keys"]:
        """Sub-tables by name (``[key.name]``); mandatory."""
        value = self._take(key)
        if not isinstance(value, Mapping) or not value:
            raise self._missing(key, f"one or more [{key}.<name>] tables")
        return {name: Keys(item, f"{self.where}.{key}.{name}") for name, item in value.items()}

    def lists(self, key: str) -> dict[str, tuple[str, ...]]:
        """A table whose every value is a non-empty list of strings; empty when absent."""
        value = self._take(key)
        if value is None:
            return {}
        inner = Keys(value, f"{self.where}.{key}")
        return {name: inner.texts(name) for name in inner._values}

    def _missing(self, key: str, expected: str) -> ConfigError:
        return ConfigError(f"{self.where}: key {key!r} is missing; expected {expected}. Add it to the file.")

    def done(self) -> None:
        """Refuse keys nobody asked for, naming the nearest known one."""
        for key in self._values:
            if key not in self._asked:
                raise ConfigError(f"{self.where}: unknown key {key!r}{did_you_mean(key, self._asked)}")


def file_name(path: Path) -> str:
    """The last two parts of a path: enough to find the file, nothing about the machine."""
    return "/".join(path.parts[-2:])

"""Is a value of the config a number that can be meant?"""

import math
from typing import Any

from cxrvl.errors import ConfigError


def number(key: str, value: Any, least: float | None = None, above: float | None = None) -> float:
    """Return a finite number.

    Args:
        key: of the config, for the error.
        least, above: what the value is at least, or above; None = any.

    Raises:
        ConfigError: anything else, with key and value.
    """
    bound = f" of at least {least:g}" if least is not None else f" above {above:g}" if above is not None else ""
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not right or (least is not None and value < least) or (above is not None and value <= above):
        raise ConfigError(f"{key} is {value!r}; expected a number{bound}")
    return float(value)


def whole(key: str, value: Any, least: int | None = None) -> int:
    """Return a whole number; 2.0 is none.

    Args:
        key, least: as in `number`.

    Raises:
        ConfigError: anything else, with key and value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        bound = f" of at least {least}" if least is not None else ""
        raise ConfigError(f"{key} is {value!r}; expected a whole number{bound}")
    return value

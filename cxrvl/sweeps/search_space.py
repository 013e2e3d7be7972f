"""Which parameters does a search try, and how is one proposal written as overrides?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import HydraException

from cxrvl.config.compose import explain
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

EXAMPLE = "task.optimizer.lr='tag(log, interval(1e-4, 1e-2))' model.groups=8,16,32"


@dataclass(frozen=True)
class Axis:
    """One searched parameter, in the words of Hydra's sweep syntax.

    Attributes:
        key: what the override changes, with Hydra's prefix (`+key`) where one was written.
        values: the texts of a choice, or of a range in rising order; empty for an interval.
        low, high: ends of an interval or range, both included.
        step: distance of a range's values; None for an interval.
        log: proposals are spread evenly over the logarithm.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float | int | None = None
    high: float | int | None = None
    step: float | int | None = None
    log: bool = False

    def distribution(self) -> "BaseDistribution":
        """Return Optuna's name for the axis."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.low is None or self.high is None:
            return CategoricalDistribution(self.values)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=None if self.log else self.step)

    def override(self, value: Any) -> str:
        """Write a proposed value as the override a user would have written."""
        if self.low is not None and self.step and self.values:
            # A range proposes exactly the numbers that Hydra's own sweep would run over: the same runs.
            value = self.values[round((value - self.low) / self.step)]
        return f"{self.key}={value}"

    def points(self) -> list[Any]:
        """Return every value of a choice or range, as Optuna names them; empty for an interval of real numbers."""
        if self.low is None or self.high is None:
            return list(self.values)
        if self.values:
            return [self.low + i * (self.step or 1) for i in range(len(self.values))]
        if isinstance(self.low, int) and isinstance(self.high, int):
            return list(range(self.low, self.high + 1))
        return []

    def first(self) -> str:
        """Return the override of the axis's first value: a config to check before anything runs."""
        return self.override(self.values[0] if self.low is None else self.low)

    def record(self) -> dict[str, Any]:
        """Return plain content that is equal for equal axes."""
        ends = {"low": self.low, "high": self.high, "step": self.step, "log": self.log}
        return {"choices": list(self.values)} if self.low is None else ends


@dataclass(frozen=True)
class SearchSpace:
    """The searched parameters, and the overrides that all trials share."""

    axes: tuple[Axis, ...]
    fixed: tuple[str, ...]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Return the whole override list of one proposal."""
        return [*self.fixed, *(axis.override(values[axis.key]) for axis in self.axes)]

    def representative(self) -> list[str]:
        """Return the overrides of one config of the space, to be checked before the search starts."""
        return [*self.fixed, *(axis.first() for axis in self.axes)]

    def size(self) -> int | None:
        """Return how many different proposals there are, None where an interval makes them countless."""
        count = 1
        for axis in self.axes:
            count *= len(axis.points())
        return count or None


def read_space(overrides: Sequence[str], loader: ConfigLoader | None = None) -> SearchSpace:
    """Read a search space in Hydra's syntax: choice, range, interval, and tag(log, ...) around a range or interval.

    As in a sweep, `range(1, 4)` is 1, 2, 3; both ends of an interval belong to it, and `int(interval(1, 10))` proposes
    whole numbers. A later override of a key replaces an earlier one, so a plain value takes an axis out.

    Raises:
        ConfigError: an override that cannot be parsed, an empty or impossible axis, or no axis at all.
    """
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
        axes: dict[str, Axis] = {}
        fixed: list[str] = []
        for override in parsed:
            name = override.get_key_element().lstrip("+~")
            axes.pop(name, None)
            if override.is_sweep_override():
                axes[name] = _axis(override)
            else:
                fixed.append(str(override.input_line))
    except HydraException as error:
        raise ConfigError(explain(error, overrides)) from error
    if not axes:
        raise ConfigError(f"the search has no parameter to search; give at least one, such as {EXAMPLE}")
    return SearchSpace(tuple(axes.values()), tuple(fixed))


def _axis(override: Override) -> Axis:
    key, sweep = override.get_key_element(), override.value()
    tags = set(getattr(sweep, "tags", ()))
    if tags - {"log"}:
        tag = sorted(tags - {"log"})[0]
        raise ConfigError(f"cannot search '{override.input_line}': unknown tag '{tag}'{did_you_mean(tag, {'log'})}")
    log = "log" in tags
    if isinstance(sweep, RangeSweep):
        axis = _range(key, sweep, log)
    elif isinstance(sweep, IntervalSweep):
        axis = Axis(key, low=sweep.start, high=sweep.end, log=log)
    elif log:
        raise ConfigError(f"cannot search '{override.input_line}': only a range or an interval can be tagged log")
    else:
        # Sorted where Hydra would shuffle: the sampler draws anyway, and the space must be the same at each start.
        texts = list(dict.fromkeys(override.sweep_string_iterator()))
        axis = Axis(key, tuple(sorted(texts) if getattr(sweep, "shuffle", False) else texts))
    if axis.low is None and not axis.values:
        raise ConfigError(f"cannot search '{override.input_line}': it holds no value")
    if axis.low is not None and axis.high is not None and not axis.low <= axis.high:
        raise ConfigError(f"cannot search '{override.input_line}': {axis.low} is not below {axis.high}")
    if axis.low is not None and log and axis.low <= 0:
        raise ConfigError(f"cannot search '{override.input_line}': a logarithm needs values above 0")
    return axis


def _range(key: str, sweep: RangeSweep, log: bool) -> Axis:
    numbers = sorted(sweep.range())
    if not numbers:
        return Axis(key)
    texts = tuple(Transformer.str(number) for number in numbers)
    if not log:
        return Axis(key, texts, numbers[0], numbers[-1], abs(sweep.step))
    if abs(sweep.step) != 1 or not all(isinstance(number, int) for number in numbers):
        raise ConfigError(f"cannot search '{key}': a range tagged log must run over whole numbers by steps of 1")
    return Axis(key, texts, numbers[0], numbers[-1], 1, log=True)

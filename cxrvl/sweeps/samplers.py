"""How is the next trial of a search chosen, so that the same study and seed always give the same choice?"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.sweeps.search_space import SearchSpace

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "grid": "GridSampler", "nsgaii": "NSGAIISampler"}


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler by name, its seed, and whatever else its constructor takes."""

    name: str = "tpe"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, space: SearchSpace, number: int) -> "BaseSampler":
        """Return the sampler that chooses trial `number`.

        Its random state comes from the seed and the number alone: a search that was killed and started again makes the
        choices that an undisturbed one makes, and never repeats its first ones.

        Raises:
            ConfigError: no such sampler or option, or a grid over an interval.
        """
        import numpy as np
        import optuna

        if self.name not in SAMPLERS:
            raise ConfigError(f"no sampler '{self.name}'{did_you_mean(self.name, SAMPLERS)}")
        options = dict(self.options)
        if self.name == "tpe":
            # Trials of a batch know of each other, else they would all try the same place.
            options = {"constant_liar": True, **options}
        if self.name == "grid":
            if space.size() is None:
                endless = [axis.key for axis in space.axes if not axis.points()]
                raise ConfigError(f"a grid needs choices or ranges; {', '.join(endless)} is an interval")
            options["search_space"] = {axis.key: axis.points() for axis in space.axes}
        # A grid is shuffled by its seed and remembers what it visited: it has one seed for all trials.
        entropy = [self.seed] if self.name == "grid" else [self.seed, number]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return getattr(optuna.samplers, SAMPLERS[self.name])(seed=seed, **options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"cannot build the sampler '{self.name}' with {dict(self.options)}: {error}") from error

    def choose(
        self, space: SearchSpace, number: int, trials: "Sequence[FrozenTrial]", directions: Sequence[str]
    ) -> "FrozenTrial":
        """Return trial `number`, chosen from what `trials` have shown.

        The choice is made in memory, so that the study's file gets whole trials or none.
        """
        import optuna
        from optuna.trial import TrialState

        memory = optuna.create_study(directions=cast(Any, list(directions)), sampler=self.build(space, number))
        memory.add_trials(copy.deepcopy([trial for trial in trials if trial.state != TrialState.WAITING]))
        memory.ask({axis.key: axis.distribution() for axis in space.axes})
        return memory.trials[-1]

"""What has a search found so far? Lines for the terminal, and a result file beside the study's."""

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxrvl.files import write_yaml
from cxrvl.sweeps.search_space import SearchSpace
from cxrvl.sweeps.study import REASON, RETRY_OF, RUN, SearchStudy

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SHOWN = 10
"""Trials in the table at the end."""
IMPORTANCE_TRIALS = 10
"""Fewer say nothing about which parameter matters."""


class SearchReport:
    """Tells of a search's trials.

    Args:
        study: the open study.
        space: what is searched.
        metrics: names of the values.
    """

    def __init__(self, study: SearchStudy, space: SearchSpace, metrics: Sequence[str]) -> None:
        self.study, self.space, self.metrics = study, space, metrics

    def batch(self, numbers: Sequence[int]) -> None:
        """Print a line for each trial that has just ended."""
        trials = self.study.trials()
        for number in numbers:
            trial = trials[number]
            what = self._values(trial) if trial.values else f"failed: {trial.user_attrs[REASON]}"
            print(f"trial {number}: {what} ({' '.join(self._searched(trial))})", flush=True)

    def end(self) -> None:
        """Print the best trials as a table, what failed, and which parameters mattered."""
        rows = [["trial", *self.metrics, *(axis.key.lstrip("+") for axis in self.space.axes), "run"]]
        for trial in self._ranked()[:SHOWN]:
            values = [f"{value:.6g}" for value in trial.values]
            searched = [override.partition("=")[2] for override in self._searched(trial)]
            rows.append([str(trial.number), *values, *searched, trial.user_attrs[RUN]])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows if len(rows) > 1 else []:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        for failed in self.failed():
            print(f"failed: trial {failed}")
        for key, share in self._importances().items():
            print(f"importance of {key}: {share:.2f}")
        for trial in self._best():
            print(f"best: trial {trial.number}, {self._values(trial)}: {self._command(trial)}")
        print(f"written to {self.path}", flush=True)

    def write(self) -> None:
        """Write the best trials, and how to ask for their runs, beside the study's file."""
        best = [
            {
                "trial": trial.number, "values": dict(zip(self.metrics, trial.values, strict=True)),
                "searched": self._searched(trial), "run": trial.user_attrs[RUN], "command": self._command(trial),
            }
            for trial in self._best()
        ]  # fmt: skip
        write_yaml(self.path, {"best": best, "trials": len(self._ranked()), "failed": self.failed()})

    def failed(self) -> list[str]:
        """Return the trials that failed and were not computed again, each with its reason."""
        from optuna.trial import TrialState

        trials = self.study.trials()
        again = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        failed = [t for t in trials if t.state == TrialState.FAIL and t.number not in again]
        return [f"{t.number} ({' '.join(self._searched(t))}): {t.user_attrs.get(REASON, 'failed')}" for t in failed]

    @property
    def path(self) -> Path:
        """The result file."""
        return self.study.path.with_suffix(".yaml")

    def _values(self, trial: "FrozenTrial") -> str:
        return ", ".join(f"{name} {value:.6g}" for name, value in zip(self.metrics, trial.values, strict=True))

    def _searched(self, trial: "FrozenTrial") -> list[str]:
        return [axis.override(trial.params[axis.key]) for axis in self.space.axes]

    def _command(self, trial: "FrozenTrial") -> str:
        return shlex.join(["cxrvl", "train", *self.space.overrides(trial.params)])

    def _ranked(self) -> "list[FrozenTrial]":
        """Return the finished trials, the best of the first metric in front."""
        from optuna.study import StudyDirection

        sign = -1 if self.study.study.directions[0] == StudyDirection.MAXIMIZE else 1
        return sorted((t for t in self.study.trials() if t.values), key=lambda t: (sign * t.values[0], t.number))

    def _best(self) -> "list[FrozenTrial]":
        """Return the best trial, or for several metrics those that no other beats in all of them."""
        return self._ranked()[:1] if len(self.metrics) == 1 else self.study.study.best_trials

    def _importances(self) -> dict[str, float]:
        """Return each parameter's share in the spread of the values, where there are trials enough to say."""
        import optuna

        ranked = self._ranked()
        if len(self.metrics) > 1 or len(self.space.axes) < 2 or len(ranked) < IMPORTANCE_TRIALS:
            return {}
        if len({trial.values[0] for trial in ranked}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(self.study.study, evaluator=evaluator)

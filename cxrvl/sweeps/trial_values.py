"""What did a trial's run achieve? The searched metrics, as the trial's own config asks for them."""

import math
from collections.abc import Sequence
from typing import Any

from cxrvl.config.build import build
from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, RunError
from cxrvl.files import read_json
from cxrvl.runs.evaluations import Evaluation, planned
from cxrvl.sweeps.jobs import Job
from cxrvl.sweeps.logged import VALIDATION, logged_value

EXAMPLE = "hydra.sweeper.metric=findings.mean.auroc"


def check_metrics(metrics: Sequence[str], config: dict[str, Any]) -> list[str]:
    """Return the evaluations among `metrics` that are scored on the test split.

    Raises:
        ConfigError: a metric of an evaluation that the config does not ask for.
    """
    evaluators = {name: node for name, node in config["evaluation"].items() if node is not None}
    metrics = [metric for metric in metrics if not metric.startswith(VALIDATION)]
    for metric in metrics:
        name, _, rest = metric.partition(".")
        if name not in evaluators or not rest:
            raise ConfigError(
                f"no evaluation '{name}' for the metric '{metric}'{did_you_mean(name, evaluators)}; write it as in "
                f"{EXAMPLE}, or as logged: hydra.sweeper.metric=val/auroc"
            )
    named = dict.fromkeys(metric.partition(".")[0] for metric in metrics)
    return [name for name in named if evaluators[name].get("score_split") == "test"]


def trial_values(job: Job, metrics: Sequence[str]) -> list[float] | str:
    """Return the metrics of a finished run, or why one of them has no value.

    Raises:
        ConfigError: an evaluation has no such metric.
    """
    plan = {evaluation.name: evaluation for evaluation in planned(job.run, job.config)}
    values = []
    for metric in metrics:
        name, _, rest = metric.partition(".")
        found = (
            _logged(job, metric) if metric.startswith(VALIDATION) else _find(_metrics(job, plan[name]), rest, metric)
        )
        if found is None:
            return f"{metric} is undefined"
        values.append(found)
    return values


def _metrics(job: Job, evaluation: Evaluation) -> dict[str, Any]:
    """Read an evaluation's metrics, or compute them again where metrics.json has those of other settings."""
    path = job.run_folder / "metrics.json"
    entry = (read_json(path) if path.is_file() else {}).get(evaluation.path.stem)
    if entry is not None and entry["evaluator"] == evaluation.evaluator:
        return entry["values"]
    from cxrvl.evaluation.predictions import read_predictions

    return build(evaluation.evaluator).metrics(read_predictions(evaluation.path))


def _logged(job: Job, metric: str) -> float | None:
    try:
        return logged_value(job.run_folder, metric, job.config)
    except RunError as error:
        raise ConfigError(f"{error}; hydra.sweeper.metric names it") from error


def _find(node: Any, rest: str, metric: str) -> float | None:
    for part in rest.split("."):
        if not isinstance(node, dict) or part not in node:
            near = did_you_mean(part, {str(key) for key in node}) if isinstance(node, dict) else ""
            raise ConfigError(f"metric '{metric}' has no '{part}'{near}; hydra.sweeper.metric names it")
        node = node[part]
    if node is None:
        return None
    if isinstance(node, bool) or not isinstance(node, int | float):
        raise ConfigError(f"metric '{metric}' is a {type(node).__name__}; hydra.sweeper.metric must name one number")
    return float(node) if math.isfinite(node) else None

"""How is a run evaluated on data it was not trained on? With its own pixels' way, on another data set's table."""

from collections.abc import Sequence
from typing import Any

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.predictions import Predictions, read_predictions
from cxrvl.files import read_yaml
from cxrvl.runs.evaluations import planned
from cxrvl.runs.execute import evaluate_run
from cxrvl.runs.store import Run


def config_on(run: Run, data: Sequence[str], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config that evaluates a run on other data.

    Table, labels and reading of reports are the other data's; how an image is decoded and turned into the network's input
    is the run's own, and so is the instruction before every report, where the run has one.

    Args:
        data: an option of conf/data, and overrides of it, such as ["phantom_pairs", "data.source.reports=terse"]; [] = the
            run's own data.
        overrides: what else differs from the run's config, such as evaluation=dual_images.

    Raises:
        RunError: the run is not finished.
        ConfigError: the data cannot be composed, one of both has no images, or the run has several instructions.
    """
    if run.state() != "done":
        raise RunError(f"run {run.run_id} is {run.state()}; only a finished run can be evaluated")
    config = resolved(compose_config([*read_yaml(run.folder / "overrides.yaml"), *overrides]))
    if data:
        config = {**config, "data": _other(config, data)}
    check(config)
    return config


def evaluator_of(run: Run, config: dict[str, Any], evaluation: str) -> dict[str, Any]:
    """Return the settings of one evaluation of a config.

    Raises:
        ConfigError: the config has no evaluation of that name, or leaves it out.
    """
    there = {name: one for name, one in config["evaluation"].items() if one is not None}
    if evaluation not in there:
        raise ConfigError(
            f"run {run.run_id} has no evaluation '{evaluation}'; there are {', '.join(there) or 'none'}: name one of these, "
            "or add an override such as evaluation=dual"
        )
    found: dict[str, Any] = there[evaluation]
    return found


def predictions_on(run: Run, config: dict[str, Any], evaluation: str) -> Predictions:
    """Evaluate a run under a config where that is missing, and return one evaluation's predictions.

    Raises:
        ConfigError: the config has no evaluation of that name.
    """
    asked = {**config, "evaluation": {evaluation: evaluator_of(run, config, evaluation)}}
    evaluate_run(run, asked)
    (found,) = planned(run, asked)
    return read_predictions(found.path)


def _other(config: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return the data section of other data, with the run's own way from pixels to input."""
    own, paths = config["data"], config["paths"]
    if "store" not in own:
        raise ConfigError("the run was trained on reports alone; only runs of images go to other images")
    option, *rest = words
    if "store" not in compose_config([f"data={option}"])["data"]:
        raise ConfigError(f"data={option} has no images")
    same = [f"data.store.size={own['store']['size']}", f"data.input_size={own['input_size']}", f"seed={config['seed']}"]
    same += [f"paths.{name}={value}" for name, value in paths.items()]
    other = resolved(compose_config([f"data={option}", *same, *rest]))["data"]
    transforms = {name: own["transforms"].get(name, other["transforms"][name]) for name in other["transforms"]}
    said = {reading.get("instruction", "") for reading in (own.get("text") or {}).values()}
    if said and other.get("text"):
        if len(said) > 1:
            raise ConfigError(
                f"the run was trained with {len(said)} different instructions before its reports, and which of them other "
                "data should have is not known; choose runs with one instruction, or evaluate this one on its own data"
            )
        (instruction,) = said
        other["text"] = {name: {**reading, "instruction": instruction} for name, reading in other["text"].items()}
    return {**other, "store": own["store"], "transforms": transforms}

"""Which evaluations does a config ask of a run, and which of them are already on disk?"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cxrvl.config.dotted import dotted
from cxrvl.errors import RunError
from cxrvl.runs.identity import ENGINE_KEYS, digest, fingerprint
from cxrvl.runs.instructions import instructions_of, with_instructions
from cxrvl.runs.store import Run

EVALUATION_VERSION = 1
"""Raised by hand whenever code changes the rows an evaluator writes."""

METRIC_ONLY_KEYS = frozenset({
    "threshold_split", "score_split", "uncertain", "groups", "threshold_rule", "threshold_target", "operating_points",
    "subsets", "bootstrap", "seed",
    "confidence", "bins", "hit", "hit_radius", "hit_iou", "iou_thresholds", "weighted",
})  # fmt: skip
"""Evaluator settings that change metrics but not the predicted rows, so that no prediction is computed again."""

_TEXT = "cxrvl.evaluation.text"
LATER_KEYS = {
    f"{_TEXT}.TextRetrievalEvaluator": {"document_instruction"},
    f"{_TEXT}.ErrorDiscriminationEvaluator": {"document_instruction"},
    f"{_TEXT}.ClinicalSimilarityEvaluator": {"instruction"},
    f"{_TEXT}.LabelProbeEvaluator": {"instruction"},
}
"""Evaluator -> settings that came after its first predictions; an empty one is as if it were not there."""

PAIRING_KEYS = ("pairing", "empty", "least_words")
"""Settings of pairs of image and report that decide which of them are scored."""

LEFT_OUT = "leave_out"
"""Of `data.impression_only`: the only value that takes reports away for good."""

TRAINED_SECTIONS = ("model", "task", "trainer", "callbacks", "seed")
"""What an evaluation takes over from the run: everything that made its weights, but for the data it is shown."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one run: its own id, from run, evaluator, weights and data."""

    name: str
    eval_id: str
    path: Path
    evaluator: dict[str, Any]

    def done(self) -> bool:
        """Return whether the predictions are on disk; they are written atomically, so a file is a whole file."""
        return self.path.is_file()


def planned(run: Run, config: dict[str, Any]) -> list[Evaluation]:
    """Return the evaluations a resolved config asks of a run, in the config's order.

    An instruction that names a task is that of the run's own tasks, on whatever data it is evaluated.

    Raises:
        ConfigError: an instruction of a task that the run did not learn.
    """
    prints = fingerprint(config)
    data = config["data"]

    @cache
    def learnt() -> dict[str, str]:
        return instructions_of(run.config() if (run.folder / "config.yaml").is_file() else config)

    plan = []
    for name, given in config["evaluation"].items():
        if given is None:
            continue
        evaluator = with_instructions(given, learnt, f"evaluation.{name}")
        content = {
            "run": run.run_id,
            "evaluator": _asked(evaluator),
            "weights": config["checkpoint"]["use"],
            "data": prints,
            "input": _input(data),
            "version": EVALUATION_VERSION,
        }
        eval_id = digest(content)[:12]
        plan.append(Evaluation(name, eval_id, run.predictions / f"{name}-{eval_id}.parquet", evaluator))
    return plan


def _asked(evaluator: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the predicted rows of an evaluator."""
    later = LATER_KEYS.get(evaluator["_target_"], set())
    asked = {key: value for key, value in evaluator.items() if key not in METRIC_ONLY_KEYS}
    return {key: value for key, value in asked.items() if value or key not in later}


def _input(data: dict[str, Any]) -> list[Any]:
    """Return what reaches the network of the data, beyond the data themselves."""
    labels = [data.get("labels"), data.get("limit")]
    if "store" not in data:  # reports alone
        return [data.get("text"), data.get("empty"), *labels]
    pairs = [data["text"], *(data.get(key) for key in PAIRING_KEYS)] if "text" in data else []
    if data.get("impression_only") == LEFT_OUT:  # then the training split is another one for a probe, or as a pool
        pairs.append(LEFT_OUT)
    return [data["store"], data["transforms"]["evaluate"], *labels, *pairs]


def check_trained(run: Run, config: dict[str, Any]) -> None:
    """Refuse to evaluate a run under a config whose model or training is not the run's own, or whose labels are not.

    Labels matter where the model has an output for each: their order is the only name that an output has.

    Raises:
        RunError: naming the first key that differs.
    """
    asked, trained = _trained(config), _trained(run.config())
    for key in [*asked, *trained]:
        if asked.get(key, "absent") != trained.get(key, "absent"):
            raise RunError(
                f"'{key}' is {asked.get(key, 'absent')!r}, but run {run.run_id} was trained with "
                f"{trained.get(key, 'absent')!r}; an evaluation may change data and evaluators alone. Leave that "
                "override out (or, if a config file has changed since, give the run's own value)"
            )
    labels, own = config["data"].get("labels"), run.config()["data"].get("labels")
    if labels != own and any(key.rpartition(".")[2] == "num_labels" for key in trained):
        raise RunError(
            f"data.labels is {labels}, but run {run.run_id} was trained on {own}, and its outputs stand for these labels in "
            "this order; evaluate it on data whose labels are these (data.labels=[...])"
        )


def _trained(config: dict[str, Any]) -> dict[str, Any]:
    """Return what was trained as dotted keys; where weights and work lay does not matter once it is done."""
    sections = {section: config.get(section) for section in TRAINED_SECTIONS}
    sections["trainer"] = {k: v for k, v in config["trainer"].items() if k not in ENGINE_KEYS["trainer"]}
    return {key: value for key, value in dotted(sections) if key.rpartition(".")[2] != "weights"}

"""Which evaluations does a config ask of a run, and which of them are already on disk?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.runs.identity import digest, fingerprint
from cxrvl.runs.store import Run

EVALUATION_VERSION = 1
"""Raised by hand whenever code changes the rows an evaluator writes."""

METRIC_ONLY_KEYS = frozenset({
    "threshold_split", "score_split", "uncertain", "groups", "threshold_rule", "threshold_target", "bootstrap", "seed",
    "confidence", "bins", "hit", "hit_radius", "hit_iou", "iou_thresholds", "weighted",
})  # fmt: skip
"""Evaluator settings that change metrics but not the predicted rows, so that no prediction is computed again."""


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
    """Return the evaluations a resolved config asks of a run, in the config's order."""
    prints = fingerprint(config)
    data = config["data"]
    plan = []
    for name, evaluator in config["evaluation"].items():
        if evaluator is None:
            continue
        content = {
            "run": run.run_id,
            "evaluator": {k: v for k, v in evaluator.items() if k not in METRIC_ONLY_KEYS},
            "weights": config["checkpoint"]["use"],
            "data": prints,
            "input": [data["store"], data["transforms"]["evaluate"], data.get("labels"), data.get("limit")],
            "version": EVALUATION_VERSION,
        }
        eval_id = digest(content)[:12]
        plan.append(Evaluation(name, eval_id, run.predictions / f"{name}-{eval_id}.parquet", evaluator))
    return plan

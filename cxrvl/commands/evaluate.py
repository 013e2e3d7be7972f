"""`cxrvl evaluate`: the predictions a finished run still lacks, on its own or on other data."""

import json
from collections.abc import Sequence

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import RunError


def evaluate(run_id: str, overrides: Sequence[str], runs: str | None = None) -> None:
    """Compute missing predictions and print the metrics.

    Args:
        run_id: run id, or its first digits.
        overrides: what differs from the config the run was trained from.
        runs: folder of the runs; None = as in the config.

    Raises:
        RunError: the run is not trained, or the overrides change what was trained.
    """
    from pathlib import Path

    from cxrvl.files import read_yaml
    from cxrvl.runs.execute import evaluate_run
    from cxrvl.runs.store import RunStore

    if runs is None:
        runs = resolved(compose_config([o for o in overrides if o.startswith("paths")]))["paths"]["runs"]
    run = RunStore(Path(runs)).find(run_id)
    if run.state() != "done":
        raise RunError(f"run {run.run_id} is {run.state()}; only a finished run can be evaluated")
    if not (run.folder / "overrides.yaml").is_file():
        raise RunError(f"run {run.run_id} has no overrides.yaml; remove it: cxrvl runs rm {run.run_id}")
    config = resolved(compose_config([*read_yaml(run.folder / "overrides.yaml"), *overrides]))
    check(config)
    print(json.dumps(evaluate_run(run, config), indent=2))

"""Which pictures go with a table? ROC curves from its predictions, and what ACM attends to."""

from collections.abc import Sequence
from pathlib import Path

from cxrvl.evaluation.predictions import Predictions, read_predictions
from cxrvl.runs.evaluations import Evaluation
from cxrvl.tables.figures import roc_figure
from cxrvl.tables.reproduce import Wanted
from cxrvl.tables.spec import ALL, LineSpec, TableSpec

ATTENTION_EXAMPLES = 5


def illustrate(spec: TableSpec, line: LineSpec, runs: Sequence[Wanted], folder: Path) -> list[Path]:
    """Draw a line's figures where its predictions are newer than they are.

    Returns:
        The figures that are there now.
    """
    scored = [(item, e) for item in runs for e in item.evaluations if e.done() and _scores_findings(e)]
    if not scored:
        return []
    newest = max(e.path.stat().st_mtime for _, e in scored)
    figures = []
    roc = folder / f"{line.name}.roc.png"
    if not _fresh(roc, newest):
        _draw_roc(spec, line, [(item, read_predictions(e.path, "findings")) for item, e in scored], roc)
    figures.append(roc)
    attending = [item for item, _ in scored if _has_acm(item.config["model"])]
    if attending:
        chosen, every = folder / f"{line.name}.attention.png", folder / f"{line.name}.groups.png"
        if (_fresh(chosen, newest) and _fresh(every, newest)) or _draw_attention(
            spec, line, attending[0], chosen, every
        ):
            figures += [chosen, every]
    return figures


def _draw_attention(spec: TableSpec, line: LineSpec, item: Wanted, chosen: Path, every: Path) -> bool:
    """Draw what the first run with ACM attends to; false where no test image has a box."""
    # Torch and the model are needed here alone; a table asked for again must not wait for them.
    from cxrvl.runs.attend import attended_examples
    from cxrvl.tables.attention_figure import attention_figure, attention_sheet

    found = attended_examples(item.run, item.config, ATTENTION_EXAMPLES)
    if found is None:
        return False
    about = {"module_name": found.module, "model": f"{line.row(item.row).label}, seed {item.seed}"}
    attention_figure(
        found.images, found.boxes, found.key_maps, found.query_maps, chosen,
        titles=found.titles, synthetic=spec.synthetic, **about,
    )  # fmt: skip
    attention_sheet(
        found.images[0], found.boxes[0], found.key_maps[0], found.query_maps[0], every,
        title=found.titles[0], synthetic=spec.synthetic, **about,
    )  # fmt: skip
    return True


def _scores_findings(evaluation: Evaluation) -> bool:
    return str(evaluation.evaluator["_target_"]).endswith("FindingsEvaluator")


def _fresh(path: Path, newest: float) -> bool:
    return path.is_file() and path.stat().st_mtime >= newest


def _has_acm(model: object) -> bool:
    if isinstance(model, dict):
        return str(model.get("_target_", "")).endswith(".ACM") or any(_has_acm(v) for v in model.values())
    return False


def _draw_roc(spec: TableSpec, line: LineSpec, scored: Sequence[tuple[Wanted, Predictions]], path: Path) -> None:
    rows = {
        row.label: [p.of_split(line.score_split) for item, p in scored if item.row == row.name] for row in line.rows
    }
    labels = scored[0][1].labels
    groups = {c.group: spec.groups.get(c.group, labels) for c in line.columns if c.group != ALL} or {
        "all findings": labels
    }
    singles = {label: [label] for label in labels} if len(labels) <= 6 else {}
    roc_figure(rows, {**groups, **singles}, path, title=line.title, synthetic=spec.synthetic)

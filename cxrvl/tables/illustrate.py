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
        attention = folder / f"{line.name}.attention.png"
        if not _fresh(attention, newest):
            from cxrvl.runs.attend import attended_examples
            from cxrvl.tables.attention_figure import attention_figure

            examples = attended_examples(attending[0].run, attending[0].config, ATTENTION_EXAMPLES)
            if examples is None:
                return figures
            attention_figure(
                examples.images, examples.boxes, examples.key_maps, examples.query_maps, attention,
                module_name=examples.module, titles=examples.titles, synthetic=spec.synthetic,
                model=f"{line.row(attending[0].row).label}, seed {attending[0].seed}",
            )  # fmt: skip
        figures.append(attention)
    return figures


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

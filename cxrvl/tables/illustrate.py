"""Which pictures go with a table? ROC and robustness curves from its predictions, and what its networks attend to."""

from collections.abc import Sequence
from pathlib import Path

from cxrvl.evaluation.predictions import Predictions, read_predictions
from cxrvl.runs.evaluations import Evaluation
from cxrvl.tables.figures import roc_figure
from cxrvl.tables.reproduce import Wanted
from cxrvl.tables.robustness_figure import robustness_figure
from cxrvl.tables.spec import ALL, LineSpec, TableSpec

ATTENTION_EXAMPLES = 5


def illustrate(spec: TableSpec, line: LineSpec, runs: Sequence[Wanted], folder: Path) -> list[Path]:
    """Draw a line's figures where its predictions are newer than they are.

    Returns:
        The figures that are there now.
    """
    scored = _scored(line, runs, "FindingsEvaluator")
    if not scored:
        return []
    newest = max(e.path.stat().st_mtime for _, e in scored)
    figures = []
    roc = folder / f"{line.name}.roc.png"
    if not _fresh(roc, newest):
        _draw_roc(spec, line, [(item, read_predictions(e.path, "findings")) for item, e in scored], roc)
    figures.append(roc)
    figures += _robustness(spec, line, _scored(line, runs, "RobustnessEvaluator"), folder)
    attending = [item for item, _ in scored if _has(item.config["model"], ".ACM")]
    if attending:
        chosen, every = folder / f"{line.name}.attention.png", folder / f"{line.name}.groups.png"
        if (_fresh(chosen, newest) and _fresh(every, newest)) or _draw_attention(
            spec, line, attending[0], chosen, every
        ):
            figures += [chosen, every]
    looking = {item.row: item for item, _ in reversed(scored) if _has(item.config["model"], ".Vit")}
    if looking:
        generations, heads = folder / f"{line.name}.generations.png", folder / f"{line.name}.heads.png"
        if (_fresh(generations, newest) and _fresh(heads, newest)) or _draw_generations(
            spec, line, looking, generations, heads
        ):
            figures += [generations, heads]
    return figures


def _scored(line: LineSpec, runs: Sequence[Wanted], evaluator: str) -> list[tuple[Wanted, Evaluation]]:
    """The finished predictions of one kind of evaluator; of several evaluations, those of the first that is asked for."""
    found = [(item, e) for item in runs for e in item.evaluations if e.done() and _is(e, evaluator)]
    names = {e.name for _, e in found}
    first = next((name for name in (*line.evaluations, *sorted(names)) if name in names), None)
    return [(item, e) for item, e in found if e.name == first]


def _robustness(
    spec: TableSpec, line: LineSpec, scored: Sequence[tuple[Wanted, Evaluation]], folder: Path
) -> list[Path]:
    """Draw the robustness curves where they are older than their predictions; none without predictions."""
    if not scored:
        return []
    path = folder / f"{line.name}.robustness.png"
    if not _fresh(path, max(e.path.stat().st_mtime for _, e in scored)):
        read = [(item.row, read_predictions(e.path, "robustness")) for item, e in scored]
        rows = {row.label: [p.of_split(line.score_split) for name, p in read if name == row.name] for row in line.rows}
        robustness_figure(
            rows, read[0][1].labels, path, title=line.title, uncertain=spec.uncertain, synthetic=spec.synthetic
        )
    return [path]


def _draw_generations(
    spec: TableSpec, line: LineSpec, looking: dict[str, Wanted], generations: Path, heads: Path
) -> bool:
    """Draw what the first run of each row with a vision transformer attends to; false where no test image has a label."""
    from cxrvl.runs.attend import cls_examples
    from cxrvl.tables.generations_figure import Looked, generations_figure, heads_figure

    rows = {}
    for row in line.rows:
        item = looking.get(row.name)
        found = None if item is None else cls_examples(item.run, item.config, ATTENTION_EXAMPLES)
        if found is not None:
            rows[row.label] = Looked(found.images, found.maps, found.boxes, found.titles)
    if not rows:
        return False
    title = f"Attention of CLS: {line.title}"
    generations_figure(rows, generations, title=title, synthetic=spec.synthetic)
    heads_figure(rows, heads, title=title, synthetic=spec.synthetic)
    return True


def _draw_attention(spec: TableSpec, line: LineSpec, item: Wanted, chosen: Path, every: Path) -> bool:
    """Draw what the first run with ACM attends to; false where no test image has a label."""
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


def _is(evaluation: Evaluation, evaluator: str) -> bool:
    return str(evaluation.evaluator["_target_"]).endswith(f".{evaluator}")


def _fresh(path: Path, newest: float) -> bool:
    return path.is_file() and path.stat().st_mtime >= newest


def _has(model: object, target: str) -> bool:
    """Whether a model's config builds something whose name ends so."""
    if isinstance(model, dict):
        return str(model.get("_target_", "")).endswith(target) or any(_has(v, target) for v in model.values())
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

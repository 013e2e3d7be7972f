"""How are missing predictions computed, and metrics read off those that are there?"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

from cxrvl.config.build import build
from cxrvl.data.modules.base import CXRDataModule
from cxrvl.data.rows import LabelledRows
from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.predictions import read_predictions, write_predictions
from cxrvl.evaluation.probing import Network, Probing, Selective
from cxrvl.files import read_json, write_json
from cxrvl.runs.evaluations import Evaluation
from cxrvl.runs.store import Run
from cxrvl.tasks.base import Task

METRICS_VERSION = 3
"""Raised by hand whenever code changes a metric; metrics.json is then computed again from the predictions."""


class PredictionCollector(pl.Callback):
    """Turns every predicted batch into rows of the evaluators' tables, in the order of prediction.

    Args:
        evaluators: each has `rows(batch, output, table)`, or asks more of the network: see `cxrvl.evaluation.probing`.
        table: the table the batches' `index` points into.
    """

    def __init__(self, evaluators: Sequence[Any], table: LabelledRows) -> None:
        self.evaluators, self.table = tuple(evaluators), table
        self.parts: list[list[pd.DataFrame]] = [[] for _ in evaluators]

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the rows of one batch."""
        network = Network(
            predict=lambda changed: trainer.strategy.predict_step(changed, batch_idx),
            task=pl_module,
            precision=trainer.precision_plugin.forward_context,
        )
        plain: tuple[Any, Any] | None = None
        for evaluator, parts in zip(self.evaluators, self.parts, strict=True):
            if isinstance(evaluator, Probing):
                parts.append(evaluator.probe(batch, outputs, network, self.table))
                continue
            plain = plain or (to_cpu(batch), to_cpu(outputs))
            parts.append(evaluator.rows(*plain, self.table))


def to_cpu(value: Any) -> Any:
    """Move the tensors of a dict, tuple or named tuple to the CPU, floating ones as float32."""
    if isinstance(value, dict):
        return {k: to_cpu(v) for k, v in value.items()}
    if isinstance(value, tuple):
        items = [to_cpu(v) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return value.float() if value.is_floating_point() else value
    return value


def check_splits(table: LabelledRows, evaluations: Iterable[Evaluation]) -> None:
    """Refuse evaluations that cannot be made before anything is trained for them.

    Raises:
        CxrvlError: an evaluator's settings cannot be right, or a split it scores has no image.
    """
    for evaluation in evaluations:
        evaluator = build(evaluation.evaluator)
        for split in evaluator.splits:
            table.split(split)
        if isinstance(evaluator, Selective):
            try:
                evaluator.scored(table)
            except DataError as error:
                name = evaluation.name
                raise DataError(f"evaluation.{name}: {error} (evaluation.{name}=null leaves it out)") from error


def check_outputs(task: Task, evaluations: Iterable[Evaluation]) -> None:
    """Refuse evaluations of an output that a task does not give, before it is trained.

    Raises:
        ConfigError: naming the evaluation, and what there is.
    """
    for evaluation in evaluations:
        evaluator = build(evaluation.evaluator)
        asked, protocol = getattr(evaluator, "output", None), getattr(evaluator, "asks", None)
        instead = f"or leave the evaluation out: evaluation.{evaluation.name}=null"
        if asked is not None and asked not in task.OUTPUTS:
            raise ConfigError(
                f"evaluation.{evaluation.name}.output is {asked!r}, which {type(task).__name__} does not give; it gives "
                f"{', '.join(task.OUTPUTS)}: set it to that, {instead}"
            )
        if protocol is not None and not isinstance(task, protocol):
            raise ConfigError(
                f"evaluation.{evaluation.name} needs a {protocol.__name__}, which {type(task).__name__} is not; choose "
                f"another task, {instead}"
            )


def predict_missing(
    task: Task, data: CXRDataModule, trainer: pl.Trainer, evaluations: Iterable[Evaluation], use: str
) -> list[str]:
    """Compute and write the predictions that are not on disk; the task's weights are those to be judged.

    Returns:
        Names of the evaluations computed.
    """
    computed = []
    for rows, together in _passes(data.table, evaluations):
        evaluators = [evaluator for _, evaluator in together]
        collector = PredictionCollector(evaluators, data.table)
        data.predict_splits, data.predict_rows = tuple(evaluators[0].splits), rows
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it by name
        callbacks.append(collector)
        try:
            trainer.predict(task, datamodule=data, return_predictions=False)
        finally:
            callbacks.remove(collector)
        for (evaluation, evaluator), own in zip(together, collector.parts, strict=True):
            parts = _gather(trainer, own)
            if trainer.is_global_zero:
                predictions = evaluator.collect(parts, data.table)
                about = {"evaluation": evaluation.name, "eval_id": evaluation.eval_id, "weights": use}
                about["split_sha256"] = data.table.split_sha256
                write_predictions(evaluation.path, replace(predictions, info={**predictions.info, **about}))
            trainer.strategy.barrier()
            computed.append(evaluation.name)
    return computed


def _passes(
    table: LabelledRows, evaluations: Iterable[Evaluation]
) -> list[tuple[np.ndarray | None, list[tuple[Evaluation, Any]]]]:
    """Return the missing evaluations with their evaluators by the rows they score: those of the same share a pass.

    Of the same alone: then the batches of an evaluation, and so the last bits of its predictions, are the same whichever
    others are missing besides.
    """
    found: dict[Any, tuple[np.ndarray | None, list[tuple[Evaluation, Any]]]] = {}
    for evaluation in evaluations:
        if evaluation.done():
            continue
        evaluator = build(evaluation.evaluator)
        rows = evaluator.scored(table) if isinstance(evaluator, Selective) else None
        key = tuple(evaluator.splits), None if rows is None else rows.tobytes()
        found.setdefault(key, (rows, []))[1].append((evaluation, evaluator))
    return list(found.values())


def _gather(trainer: pl.Trainer, parts: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the rows of all devices."""
    if trainer.world_size == 1:
        return parts
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, parts)
    return [part for parts_of_rank in gathered for part in parts_of_rank]


def update_metrics(run: Run, evaluations: Iterable[Evaluation]) -> dict[str, Any]:
    """Recompute metrics.json from the predictions where it lags behind, and return the metrics of `evaluations`.

    The file has one entry per prediction file, so that an evaluation on other data replaces no other.
    """
    path = run.folder / "metrics.json"
    metrics: dict[str, Any] = read_json(path) if path.is_file() else {}
    asked = {}
    for evaluation in evaluations:
        entry = metrics.get(evaluation.path.stem)
        if entry is None or (entry["evaluator"], entry.get("version")) != (evaluation.evaluator, METRICS_VERSION):
            predictions = read_predictions(evaluation.path)
            values = build(evaluation.evaluator).metrics(predictions)
            entry = {
                "name": evaluation.name, "split_name": predictions.split_name, "evaluator": evaluation.evaluator,
                "version": METRICS_VERSION, "values": values,
            }  # fmt: skip
            metrics[evaluation.path.stem] = entry
            write_json(path, metrics)
        asked[evaluation.path.stem] = entry
    return asked

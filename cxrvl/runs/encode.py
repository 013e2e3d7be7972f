"""How does a finished text run embed reports? Read as it read its own, in a precision of one's choice."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrvl.data.reports.table import ReportTable
from cxrvl.data.reports.texts import READING_KEYS, Reading, Texts
from cxrvl.data.sources.mixture import by_name
from cxrvl.data.sources.report_columns import NAMED
from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.text.reports import checked_norms
from cxrvl.models.text.rounding import CLOSE, Float32Layers, choose_float32_layers
from cxrvl.runs.execute import use_weights
from cxrvl.runs.store import Run
from cxrvl.runs.trainer import build_task, quieten, set_up_process
from cxrvl.tasks.text import TextTask

log = logging.getLogger("cxrvl")
PRECISIONS = ("fp32", "bf16")
SAMPLE = 64
"""Reports on which bf16 is compared with float32."""


class ReportEncoder:
    """A finished text run, ready to embed reports.

    Args:
        run: a run that is done.
        dataset: whose reading (policy, cleaning, instruction) the reports get, where the run has several.
        precision: fp32 | bf16 of the forward passes, however the run was trained; the weights are held in float32, and
            with bf16 so are the layers that `settle` finds.
        instruction: before every report, read and not pooled; "" = none; None = that of the reading.

    Attributes:
        reading: how reports are read. mapping: which columns held what in the run's own table, {} where it had none.

    Raises:
        RunError: the run is not finished, learnt no text, or has several readings and none was chosen.
        ConfigError: another precision.
    """

    def __init__(
        self,
        run: Run,
        dataset: str | None = None,
        precision: str = PRECISIONS[0],
        instruction: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision {precision!r}; expected {' or '.join(PRECISIONS)}")
        quieten()
        if run.state() != "done":
            raise RunError(f"run {run.run_id} is {run.state()}; finish it first: cxrvl train with its overrides.yaml")
        config = run.config()
        set_up_process(config)
        self.run, self.config = run, config
        self.reading, self.mapping = reading_of(config, dataset), mapping_of(config, dataset)
        if instruction is not None:
            self.reading = replace(self.reading, instruction=instruction.strip())
        task = build_task(config, pretrained=False).eval()
        if not isinstance(task, TextTask):
            raise RunError(f"run {run.run_id} is of {config['task']['_target_']}, which embeds no texts")
        self.task = task
        self.weights = use_weights(run, config, task)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.precision = precision
        task.to(self.device, torch.float32)
        self._exact = Float32Layers(task.encoder) if precision == "bf16" else None

    @property
    def width(self) -> int:
        """Width of an embedding."""
        return self.task.encoder.width

    def encode(self, frame: pd.DataFrame, origin: str = "reports") -> tuple[np.ndarray, np.ndarray]:
        """Embed reports.

        Args:
            frame: one column per section, text or NaN; its index holds the 0-based data rows of `origin`, for errors.

        Returns:
            (n,) bool which of them say anything, and the embeddings (m, D) float32 of those.

        Raises:
            RunError: an embedding that is no number, or zero.
        """
        there, batch = self._batch(frame, origin)
        if not batch["text"]:
            return there, np.empty((0, self.width), dtype=np.float32)
        rounded = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), rounded:
            embedding = self.task.predict_step(batch, 0).embedding
        vectors = embedding.float().cpu().numpy()
        checked_norms(vectors)
        return there, vectors

    @property
    def cut(self) -> int:
        """How many different texts lost their end so far, as they have more tokens than the run reads."""
        return self.task.encoder.tokenize.cut

    def settle(self, frame: pd.DataFrame | None, count: Any = None, origin: str = "reports") -> int:
        """Set how many of the first layers compute in float32 under bf16, see `cxrvl.models.text.rounding`.

        Args:
            frame, origin: as `encode`; some of its reports are compared. None = there is a count.
            count: what an earlier call with these reports found; None = find it.

        Returns:
            The count; 0 where everything is in float32 anyway.

        Raises:
            RunError: a count that no earlier call can have found.
        """
        if self._exact is None:
            return 0
        layers = len(self._exact.layers)
        if frame is not None and count is None:
            count = self._settled(self._exact, frame, origin)
        elif type(count) is not int or not 0 <= count <= layers:
            raise RunError(
                f"an earlier call is said to have had {count!r} layers in float32, expected 0 to {layers}: its notes are "
                "damaged; remove its folder, beside --out, to begin anew"
            )
        self._exact.count = count
        return count

    def _settled(self, exact: Float32Layers, frame: pd.DataFrame, origin: str) -> int:
        """Compare reports in bf16 with themselves in float32; all layers where there is none to compare."""
        already = self.cut
        _, batch = self._batch(frame, origin)
        if not batch["text"]:
            return len(exact.layers)
        some = np.unique(np.linspace(0, len(batch["text"]) - 1, SAMPLE).astype(int))
        texts, bodies = [batch["text"][row] for row in some], batch["body"][some]
        found = choose_float32_layers(exact, self.task.encoder, texts, bodies)
        self.task.encoder.tokenize.cut = already
        log.log(
            logging.INFO if found.cosine >= CLOSE else logging.WARNING,
            "bf16: %d of %d layers compute in float32; smallest cosine to float32 %.5f in %d reports (%.5f in bf16 alone)%s",
            found.layers, len(exact.layers), found.cosine, len(texts), found.alone,
            "" if found.cosine >= CLOSE else f": less than {CLOSE}; take --precision fp32 if that matters",
        )  # fmt: skip
        return found.layers

    def _batch(self, frame: pd.DataFrame, origin: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Which reports say anything, and those as the task reads them."""
        rows = [str(int(row) + 1) for row in frame.index]
        raw = frame.assign(dataset="reports", study=rows, patient=rows, split="test")
        table = ReportTable.build(raw, (), split_name="reports", origin=origin)
        texts = Texts(table, {"reports": self.reading}, seed=0)
        there = ~texts.empty()
        joined = [texts.compose(int(row)) for row in np.flatnonzero(there)]
        return there, {"text": [one.text for one in joined], "body": torch.tensor([one.body for one in joined])}


def reading_of(config: Mapping[str, Any], dataset: str | None) -> Reading:
    """Return how a run reads reports.

    Raises:
        RunError: several ways, and the data set is not one of them.
    """
    text = config["data"].get("text") or {}
    if len(text) > 1 and dataset not in text:
        raise RunError(f"the run reads reports in {len(text)} ways; choose one with --dataset: {', '.join(text)}")
    name = dataset if dataset is not None and dataset in text else next(iter(text), "default")
    options = by_name(text, [name], "data.text", READING_KEYS) if text else {name: {}}
    return Reading(**options[name])


def mapping_of(config: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Return section, or `study` -> column of the table that a run learnt from.

    Empty where its source needs no mapping, or where several sources differ and `dataset` is none of them.
    """
    source = config["data"].get("source") or {}
    sources = source.get("sources")
    if not sources:
        return _texts_of(source)
    names = source.get("names") or [one.get("name") for one in sources]
    found = {name: _texts_of(one) for name, one in zip(names, sources, strict=True)}
    if dataset in found:
        return found[dataset]
    first, *rest = found.values()
    return first if all(one == first for one in rest) else {}


def _texts_of(source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: spec for name, spec in (source.get("columns") or {}).items() if name in NAMED}

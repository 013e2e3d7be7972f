"""Which reports does an evaluation of texts score, which texts does it make of them, and what are their embeddings?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.reports.policy import BETWEEN
from cxrvl.data.reports.style import apply, check_styles
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.predictions import Predictions, to_numpy
from cxrvl.evaluation.probing import Network

WHOLE = "report"
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Variant:
    """One text made of a report.

    of: a section, or `report`, the whole as the data's policy reads it. styles: rewriting -> strength, applied to it.
    instruction: before it, read and not pooled.
    """

    of: str = WHOLE
    styles: Mapping[str, float] = field(default_factory=dict)
    instruction: str = ""

    @classmethod
    def checked(cls, where: str, given: Any, instruction: str = "") -> "Variant":
        """Read {of: ..., styles: {...}, instruction: ...}; ConfigError, naming the option, for what is no variant.

        Args:
            instruction: the evaluator's, for a variant that has none of its own.
        """
        known = ("of", "styles", "instruction")
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"evaluation {where} is {given!r}; expected {{of: <section>, styles: {{...}}, instruction: <text>}}"
            )
        for key in given:
            if key not in known:
                raise ConfigError(f"evaluation {where}: unknown key '{key}'{did_you_mean(str(key), known)}")
        own = given.get("instruction")
        before = check_instruction(f"{where}.instruction", instruction if own is None else own)
        one = cls(str(given.get("of", WHOLE)), dict(given.get("styles") or {}), before)
        if one.of not in SECTIONS:
            raise ConfigError(
                f"evaluation {where}: there is no report section '{one.of}'{did_you_mean(one.of, SECTIONS)}"
            )
        check_styles(one.styles)
        return one

    def text(self, report: "Report", seed: int) -> str:
        """Return the text; "" where the report has no such section."""
        text = report.sections.get(self.of, "") if self.of != WHOLE else report.whole
        if not text or not self.styles:
            return text
        key = f"{report.key}/{'+'.join(self.styles)}"
        return apply(text, self.styles, seed=seed, key=key).text.strip() or text


@dataclass(frozen=True)
class Report:
    """One report of a batch: its row of the table, name, cleaned sections, and the whole as the policy reads it."""

    row: int
    key: str
    sections: Mapping[str, str]
    whole: str


def reports_of_batch(batch: Mapping[str, Any], table: ReportTable) -> list[Report]:
    """Return the reports of an evaluation batch of `ReportDataModule`.

    Raises:
        RunError: batches of another kind of data, which hold no cleaned sections.
    """
    if "sections" not in batch:
        raise RunError("an evaluation of texts needs data of reports alone (data=..._reports or ..._triplets)")
    index, bodies = np.asarray(batch["index"].cpu()), np.asarray(batch["body"].cpu())
    names = table.frame["dataset"] + "/" + table.frame["study"]
    return [
        Report(int(row), str(names.iloc[row]), sections, text[start:end])
        for row, sections, text, (start, end) in zip(index, batch["sections"], batch["text"], bodies, strict=True)
    ]


def check_instruction(where: str, given: Any) -> str:
    """Return an instruction without white space around it; ConfigError for what is no text."""
    if not isinstance(given, str):
        raise ConfigError(
            f"evaluation {where} is {given!r}; expected a text ({{task: <name>}} is looked up where a run is evaluated)"
        )
    return given.strip()


def embed(network: Network, texts: Sequence[tuple[str, str]]) -> Vectors:
    """Return unit embeddings (n, D) float32 of texts, each given as (instruction, text); equal ones are equal.

    What another evaluator has asked of the same batch, to the last text, is not computed again.

    Raises:
        RunError: an embedding that is no number, or zero.
    """
    import torch  # not above: a config is checked without it

    different = list(dict.fromkeys(texts))
    joined = [f"{head.strip()}{BETWEEN}{text}" if head.strip() else text for head, text in different]
    bodies = [(len(whole) - len(text), len(whole)) for whole, (_, text) in zip(joined, different, strict=True)]
    request = tuple(different)
    if request not in network.answers:
        output = network.predict({"text": joined, "body": torch.tensor(bodies, dtype=torch.int64)})
        network.answers[request] = to_numpy(output.embedding)
    vectors = network.answers[request]
    norms = checked_norms(vectors)
    place = {text: number for number, text in enumerate(different)}
    return np.asarray((vectors / norms)[[place[text] for text in texts]], dtype=np.float32)


def checked_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths (n, 1) of embeddings (n, D).

    Raises:
        RunError: one that is no number, or zero: nothing can be compared with it.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise RunError("the encoder gave an embedding that is zero or no number: the model has diverged or overflows")
    return norms


def chosen_reports(table: ReportTable, splits: Sequence[str], limit: int | None, seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of the splits, at most `limit` of each: those whose names hash lowest, whatever else is there."""
    chosen = []
    for split in splits:
        rows = table.split(split)
        if limit is not None and len(rows) > limit:
            names = (table.frame["dataset"] + "/" + table.frame["study"]).iloc[rows]
            order = np.argsort([hashlib.sha256(f"{seed}/{name}".encode()).hexdigest() for name in names], kind="stable")
            rows = np.sort(rows[order[:limit]])
        chosen.append(rows)
    return np.concatenate(chosen)


def report_columns(table: ReportTable, rows: Sequence[int]) -> dict[str, Any]:
    """The columns that say which report a row is about; `image` is the study, since a report stands for its images."""
    frame = table.frame.iloc[list(rows)]
    columns = {name: frame[name].astype(str).to_numpy() for name in ("dataset", "patient", "study", "split")}
    return {**columns, "image": columns["study"]}


def fingerprint_of(text: str) -> str:
    """Name a text without saying it: 16 hex digits, equal for texts that differ in white space alone."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def build(
    rows: pd.DataFrame, kind: str, labels: Sequence[str], table: ReportTable, info: Mapping[str, Any] | None = None
) -> Predictions:
    """Predictions of the reports that were scored; of rows that several processes hold, the first is kept.

    Raises:
        DataError: none was scored.
    """
    if not len(rows):
        raise DataError(
            f"no report of {table.split_name!r} offers what the evaluation asks for; choose a data.text policy that reads "
            "the sections it names, or leave it out"
        )
    once = rows.drop_duplicates(["dataset", "image"])
    folds = {str(name): int(count) for name, count in once["split"].value_counts().items()}
    return Predictions.build(
        rows, kind=kind, labels=labels, folds=folds, split_name=table.split_name,
        info={"split_sha256": table.split_sha256, **(info or {})}, origin="evaluation",
    )  # fmt: skip

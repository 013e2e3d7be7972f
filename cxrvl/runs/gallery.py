"""What is shown of a run's retrieval? The images, reports and findings behind some rows of its predictions."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxrvl.data.labeler import OBSERVATIONS, Labeler
from cxrvl.data.modules.image_report import ImageReportDataModule
from cxrvl.data.modules.loading import BatchRows
from cxrvl.data.reports.sentences import split_sentences
from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.dual.encoder import Passage
from cxrvl.evaluation.dual.maps import word_maps
from cxrvl.evaluation.predictions import NEAREST, Predictions, read_predictions
from cxrvl.runs.evaluations import Evaluation
from cxrvl.tracking.drawing import grey, with_attention
from cxrvl.tracking.gallery import Hit, Query, write_gallery
from cxrvl.tracking.sharing import receivers

log = logging.getLogger(__name__)
TARGET = "cxrvl.evaluation.dual.ImageTextRetrievalEvaluator"
QUERIES = 24
WORDS = 5
"""Mentions of findings whose place in the image is shown, per image."""
AROUND = 200
"""Characters of its sentence that a mention is read with, on either side."""
KEY = "test/retrieval"
WordMaps = list[tuple[str, np.ndarray]]
_FINDINGS = tuple(name for name in OBSERVATIONS if name != "No Finding")


def write_galleries(
    folder: Path, config: dict[str, Any], evaluations: Sequence[Evaluation], task: Any, data: Any, loggers: Sequence[Any],
    step: int,
) -> Path | None:  # fmt: skip
    """Write the gallery of the first evaluation of retrieval by plain images, where the config asks for pictures.

    The queries are those whose names hash lowest, not chosen by how well they did. Loggers that may have pictures of these
    data get the images and which findings agree, never a report.

    Args:
        folder: of the run. task: with the weights that were judged.

    Returns:
        The page; None where there is nothing to show.
    """
    if not isinstance(data, ImageReportDataModule) or config["tracking"]["pictures_every"] is None:
        return None
    for evaluation in evaluations:
        task_name = _plain_task(evaluation.evaluator)
        if task_name is not None:
            queries = queries_of(read_predictions(evaluation.path), task_name, evaluation.evaluator, data, task)
            about = (
                f"{evaluation.name}, {task_name}: {len(queries)} images of the {evaluation.evaluator['score_split']} split, "
                "not chosen by result, and the reports nearest to each by similarity. The maps show where words of the own "
                "report lie in the image: colour is similarity above the mean of all places, each map up to its maximum."
            )
            path = write_gallery(
                folder, evaluation.path.stem, f"Retrieval of {config['name']}, seed {config['seed']}", about, queries
            )
            for logger in receivers(loggers, config["data"]):
                logger.log_pictures(KEY, [one.pixels for one in queries], [one.caption for one in queries], step)
            return path
    return None


def _plain_task(evaluator: dict[str, Any]) -> str | None:
    """The task in which images ask for reports as they were written; None where there is none."""
    if evaluator["_target_"] != TARGET:
        return None
    plain = (name for name, one in evaluator["tasks"].items() if one["query"] == "image" and not one.get("styles"))
    return next(plain, None)


@dataclass(frozen=True)
class _Reports:
    """The reports of a data module by name, as the model reads them, and what a labeler reads in them."""

    data: ImageReportDataModule
    places: dict[str, int]
    labeler: Labeler

    @classmethod
    def of(cls, data: ImageReportDataModule) -> "_Reports":
        frame = data.reports.frame
        names = (frame["dataset"] + "/" + frame["study"]).tolist()
        return cls(data, {name: place for place, name in enumerate(names)}, Labeler("chexpert"))

    def passage(self, name: str) -> Passage:
        joined = self.data.texts.texts.compose(self.places[name])
        return Passage(joined.text, *joined.body)

    def findings(self, report: str) -> tuple[str, ...]:
        said = self.labeler.label(report)
        return tuple(name for name in _FINDINGS if said[name] in (1.0, -1.0))


def queries_of(
    predictions: Predictions, task_name: str, evaluator: dict[str, Any], data: ImageReportDataModule, task: Any
) -> list[Query]:
    """Return what is shown of some images of the split that is scored."""
    frame = predictions.of_split(evaluator["score_split"])
    frame = frame[frame["label"] == task_name]
    hashed = [hashlib.sha256(f"{one.dataset}/{one.image}".encode()).hexdigest() for one in frame.itertuples()]
    frame = frame.iloc[np.argsort(hashed, kind="stable")[:QUERIES]].reset_index(drop=True)
    reports = _Reports.of(data)
    own = [reports.passage(f"{one.dataset}/{one.study}") for one in frame.itertuples()]
    images = _inputs(data, frame)
    maps = _maps(task, images, [mentioned(passage, reports.labeler) for passage in own])
    rows = zip(frame.to_dict("records"), images.numpy(), own, maps, strict=True)
    return [_query(row, grey(image), passage, reports, found) for row, image, passage, found in rows]


def _query(row: dict[Any, Any], pixels: np.ndarray, own: Passage, reports: _Reports, maps: WordMaps) -> Query:
    """What one image found."""
    mine = reports.findings(own.body)
    hits = []
    for number in range(1, NEAREST + 1):
        name = row[f"found_{number}"]
        if not name:
            continue
        report = reports.passage(name).body
        theirs = reports.findings(report)
        hits.append(
            Hit(
                name, float(row[f"near_{number}"]), report, name == f"{row['dataset']}/{row['study']}", report == own.body,
                tuple(x for x in mine if x in theirs), tuple(x for x in mine if x not in theirs),
                tuple(x for x in theirs if x not in mine),
            )
        )  # fmt: skip
    rank = 1 + float(row["better_diagonal"]) + float(row["tied_diagonal"]) / 2
    drawn = tuple((word, with_attention(pixels, one, "K")) for word, one in maps)
    return Query(pixels, row["image"], own.body, mine, rank, float(row["own"]), tuple(hits), drawn)


def _inputs(data: ImageReportDataModule, frame: pd.DataFrame) -> torch.Tensor:
    """The images (n, 1, H, W) as the network sees them."""
    known = pd.MultiIndex.from_frame(data.table.frame[["dataset", "image"]])
    rows = known.get_indexer(pd.MultiIndex.from_frame(frame[["dataset", "image"]]))
    images: torch.Tensor = data.transform(data.dataset().__getitems__(BatchRows(rows.tolist())))["image"]
    return images


def mentioned(passage: Passage, labeler: Labeler) -> list[Passage]:
    """The words of a report that name a finding, each different wording once, in their sentence.

    Not in the whole report: one that is longer than the text tower reads would lose the words themselves.
    """
    found: dict[str, Passage] = {}
    for sentence in split_sentences(passage.body):
        said = sentence.of(passage.body)
        for mention in labeler.mentions(said):
            begin = max(0, mention.start - AROUND)
            around = passage.with_body(said[begin : mention.end + AROUND])
            start = around.start + mention.start - begin
            word = Passage(around.text, start, start + mention.end - mention.start)
            found.setdefault(word.body.lower(), word)
    return list(found.values())[:WORDS]


def _maps(task: Any, images: torch.Tensor, words: Sequence[Sequence[Passage]]) -> list[WordMaps]:
    """Each image's words and their maps; none, and a line in the log, for a tower without places, or one that cannot read."""
    task.eval()
    try:
        found = word_maps(task, images.to(task.device), words)
    except (ConfigError, DataError) as error:
        log.info("the retrieval gallery shows no maps: %s", error)
        return [[] for _ in words]
    if found[0].shape[1] * found[0].shape[2] == 1:
        log.info("the retrieval gallery shows no maps: the image tower's map of these images is a single place")
        return [[] for _ in words]
    return [
        [(word.body, one) for word, one in zip(some, maps, strict=True)]
        for some, maps in zip(words, found, strict=True)
    ]

"""What do the rows of a marks file say? A pure function from marks and lesions to JAFROC, pointing game and overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.evaluation.labels import check_groups, jsonable, known_targets, patient_numbers
from cxrvl.evaluation.predictions import MARK_NUMBERS, Predictions
from cxrvl.evaluation.statistics.bootstrap import percentile_interval, replicate
from cxrvl.evaluation.statistics.jafroc import Jafroc
from cxrvl.evaluation.statistics.operating_point import ClusterMean, Share, wilson

Floats = NDArray[np.float64]
HIT_RULES = ("inside_box", "radius", "iou")
IMAGE = ["dataset", "image"]


@dataclass(frozen=True)
class MarksOptions:
    """What `MarksEvaluator` was asked for; meanings there."""

    score_split: str = "test"
    hit: str = "inside_box"
    hit_radius: float = 0.1
    hit_iou: float = 0.25
    iou_thresholds: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    uncertain: str = "ignore"
    groups: Mapping[str, tuple[str, ...]] | None = None
    weighted: bool = False
    bootstrap: int = 1000
    seed: int = 0
    confidence: float = 0.95


class LabelMarks:
    """Lesions and normal images of one label, rated by their marks.

    Normal is an image whose target is 0 and that has no box of the label. Positive images without a box (most of
    ChestX-ray14) are neither normal nor searched: where their lesion is, nobody has said; they are only counted.

    Args:
        mine: its rows as `label_marks` makes them.
        count: patients there are.
    """

    def __init__(self, mine: pd.DataFrame, count: int, options: MarksOptions) -> None:
        marks, boxes = mine[~mine["is_lesion"]], mine[mine["is_lesion"]].reset_index(drop=True)
        top = marks[marks["number"] == 0]
        targets = known_targets(top["target"].to_numpy(dtype=np.float32), options.uncertain)
        with_box = np.isin(top["image_number"].to_numpy(), boxes["image_number"].to_numpy())
        normal = (targets == 0) & ~with_box
        self.images, self.abnormal, self.normals = len(top), int(with_box.sum()), int(normal.sum())
        self.positives_without_boxes = int(((targets == 1) & ~with_box).sum())
        self.lesions, patients = len(boxes), boxes["patient_number"].to_numpy()
        pairs = boxes.assign(lesion=np.arange(len(boxes))).merge(marks, on="image_number", suffixes=("", "_mark"))
        hit, overlap = _hits(pairs, options), _overlap(pairs)
        first = (pairs["number_mark"] == 0).to_numpy()
        rating = pd.Series(np.where(hit, pairs["rating_mark"], -np.inf)).groupby(pairs["lesion"].to_numpy()).max()
        ratings = rating.to_numpy(dtype=np.float64)
        images = boxes["image_number"].to_numpy()
        self.rated_patients = len(np.unique(patients)), top["patient_number"][normal].nunique()
        self.jafroc = Jafroc(
            ratings, top["rating"].to_numpy(dtype=np.float64)[normal], patients,
            top["patient_number"].to_numpy()[normal], count, images if options.weighted else None,
        )  # fmt: skip
        per_image = pairs[first].assign(hit=hit[first]).groupby("image_number")
        pointed = per_image.agg(hit=("hit", "any"), who=("patient_number", "first"))
        self.pointing = Share(pointed["hit"].to_numpy(), pointed["who"].to_numpy(), count)
        self.marked = Share(np.isfinite(ratings), patients, count)
        self.overlap = ClusterMean(overlap[first], patients, count)
        self.found = {value: Share(overlap[first] >= value, patients, count) for value in options.iou_thresholds}


def label_marks(frame: pd.DataFrame, labels: Sequence[str], options: MarksOptions) -> tuple[dict[str, LabelMarks], int]:
    """The marks of each label, and how many patients there are.

    Args:
        frame: rows of kind "marks" of one split, of all labels.
    """
    numbers, count = patient_numbers(frame)
    # Images as numbers, names left behind: labels are many, and joining numbers is what makes them quick.
    slim = frame[["number", *MARK_NUMBERS]].assign(
        is_lesion=(frame["entry"] == "lesion").to_numpy(),
        patient_number=numbers,
        image_number=frame.groupby(IMAGE, sort=False).ngroup().to_numpy(),
    )
    own, names = pd.factorize(frame["label"])
    rows = {name: np.flatnonzero(own == place) for place, name in enumerate(names)}
    nothing = np.empty(0, dtype=np.int64)
    return {label: LabelMarks(slim.take(rows.get(label, nothing)), count, options) for label in labels}, count


def marks_metrics(predictions: Predictions, options: MarksOptions) -> dict[str, Any]:
    """All localisation metrics of one evaluation.

    Per label: counts (images, normals, abnormal images with boxes, lesions, positives without boxes); `jafroc`;
    `pointing_game`, the share of abnormal images whose highest mark hits a lesion; `lesions_marked`, the share of
    lesions that any of the marks hits; `iou`, the mean over lesions of the overlap with the region of the image's
    highest mark; `found`, the share of lesions with at least that overlap. Hits follow the named rule. Intervals: bootstrap over
    patients (shares with one item per patient: Wilson). `mean` and `groups` average over the labels where the number is
    defined. A number that does not exist is None, and `undefined` says why.

    Raises:
        DataError: the split was not scored.
        ConfigError: a group with unknown labels.
    """
    check_groups(options.groups or {}, predictions.labels)
    frame = predictions.of_split(options.score_split)
    labels, count = label_marks(frame, predictions.labels, options)
    statistics: dict[str, Any] = {f"jafroc/{label}": marks.jafroc.figure_of_merit for label, marks in labels.items()}
    for label, marks in labels.items():
        statistics |= {f"pointing_game/{label}": marks.pointing, f"lesions_marked/{label}": marks.marked}
        statistics |= {f"iou/{label}": marks.overlap}
        statistics |= {f"found {value}/{label}": share for value, share in marks.found.items()}
    replicates = replicate(count, statistics, options.bootstrap, options.seed)
    entries = {label: _label(label, marks, replicates, options) for label, marks in labels.items()}
    result: dict[str, Any] = jsonable(
        {
            "kind": predictions.kind,
            "split_name": predictions.split_name,
            "score_split": options.score_split,
            "complete": predictions.complete,
            "images": len(frame.drop_duplicates(IMAGE)),
            "patients": count,
            "hit": {"rule": options.hit, "radius": options.hit_radius, "iou": options.hit_iou},
            "uncertain": options.uncertain,
            "weighted": options.weighted,
            "confidence": options.confidence,
            "bootstrap": {"replicates": options.bootstrap, "seed": options.seed, "clusters": "patients"},
            "labels": entries,
            "mean": _mean(entries, predictions.labels, replicates, options),
            "groups": {k: _mean(entries, v, replicates, options) for k, v in (options.groups or {}).items()},
        }
    )
    return result


def _label(label: str, marks: LabelMarks, replicates: Mapping[str, Floats], options: MarksOptions) -> dict[str, Any]:
    figure = float(marks.jafroc.figure_of_merit()[0])
    interval = percentile_interval(figure, replicates[f"jafroc/{label}"], options.confidence)
    low, high, method = interval.low, interval.high, "percentiles of the bootstrap over patients"
    if low == high:  # every replicate agrees: separated without error, which is not certainty
        trials = min(marks.rated_patients)
        low, high = wilson(figure * trials, trials, options.confidence)
        method = "Wilson on the rarer side's patients (no variance)"
    undefined = {}
    if np.isnan(figure):
        undefined["jafroc"] = "no lesion with a box" if not marks.lesions else "no normal image"
    if not marks.lesions:
        undefined |= dict.fromkeys(("pointing_game", "lesions_marked", "iou", "found"), "no lesion with a box")
    overlap = percentile_interval(marks.overlap.estimate, replicates[f"iou/{label}"], options.confidence)
    entry: dict[str, Any] = {
        "images": marks.images,
        "normals": marks.normals,
        "abnormal": marks.abnormal,
        "lesions": marks.lesions,
        "positives_without_boxes": marks.positives_without_boxes,
        "jafroc": figure,
        "jafroc_low": low,
        "jafroc_high": high,
        "interval_method": None if np.isnan(low) else method,
        "replicates_undefined": interval.undefined,
        "iou": overlap.estimate,
        "iou_low": overlap.low,
        "iou_high": overlap.high,
        "found": {},
        "undefined": undefined,
    }
    for name, share in (("pointing_game", marks.pointing), ("lesions_marked", marks.marked)):
        entry |= _share(name, share, replicates[f"{name}/{label}"], options.confidence)
    for value, share in marks.found.items():
        entry["found"][str(value)] = _share("share", share, replicates[f"found {value}/{label}"], options.confidence)
    return entry


def _share(name: str, share: Share, replicates: Floats, confidence: float) -> dict[str, Any]:
    low, high, method = share.interval(replicates, confidence)
    return {name: share.estimate, f"{name}_low": low, f"{name}_high": high,
            f"{name}_method": None if np.isnan(low) else method}  # fmt: skip


def _mean(
    entries: Mapping[str, Mapping[str, Any]],
    members: tuple[str, ...],
    replicates: Mapping[str, Floats],
    options: MarksOptions,
) -> dict[str, Any]:
    """Means over the labels in which the number exists; a replicate in which one is undefined is left out."""
    result: dict[str, Any] = {}
    for name in ("jafroc", "pointing_game"):
        defined = [label for label in members if not np.isnan(entries[label][name])]
        undefined = {label: entries[label]["undefined"][name] for label in members if label not in defined}
        values = np.mean([replicates[f"{name}/{label}"] for label in defined], axis=0) if defined else np.empty(0)
        estimate = float(np.mean([entries[label][name] for label in defined])) if defined else np.nan
        interval = percentile_interval(estimate, values, options.confidence)
        result |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        result[f"{name}_labels"] = {"labels": len(defined), "defined": defined, "undefined": undefined,
                                    "replicates_undefined": interval.undefined}  # fmt: skip
    return result


def _hits(pairs: pd.DataFrame, options: MarksOptions) -> NDArray[np.bool_]:
    """Which mark hits which lesion, per row of the joined table (marks' columns end in _mark)."""
    x, y = pairs["x_mark"].to_numpy(), pairs["y_mark"].to_numpy()
    if options.hit == "inside_box":
        box = (pairs[name].to_numpy() for name in ("x0", "x1", "y0", "y1"))
        left, right, top, bottom = box
        return np.asarray((x >= left) & (x <= right) & (y >= top) & (y <= bottom))
    if options.hit == "radius":
        return np.asarray(np.hypot(x - pairs["x"].to_numpy(), y - pairs["y"].to_numpy()) <= options.hit_radius)
    return np.asarray(_overlap(pairs) >= options.hit_iou)


def _overlap(pairs: pd.DataFrame) -> Floats:
    """Intersection over union of lesion box and mark region, (rows,) in [0, 1]."""
    box, region = ({name: pairs[name + end].to_numpy(dtype=np.float64) for name in ("x0", "y0", "x1", "y1")}
                   for end in ("", "_mark"))  # fmt: skip
    shared = np.ones(len(pairs))
    areas = [np.ones(len(pairs)), np.ones(len(pairs))]
    for low, high in (("x0", "x1"), ("y0", "y1")):
        shared *= np.clip(np.minimum(box[high], region[high]) - np.maximum(box[low], region[low]), 0, None)
        areas = [area * (place[high] - place[low]) for area, place in zip(areas, (box, region), strict=True)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

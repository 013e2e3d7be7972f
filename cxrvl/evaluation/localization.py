"""Does the model look where the lesion is? Class maps become marks, boxes become lesions: one row each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.collection import collect, image_columns
from cxrvl.evaluation.labels import UNCERTAIN_POLICIES
from cxrvl.evaluation.localization_metrics import HIT_RULES, MarksOptions, marks_metrics
from cxrvl.evaluation.marks import MarkOptions, find_marks
from cxrvl.evaluation.predictions import MARK_NUMBERS, Predictions, to_numpy

if TYPE_CHECKING:
    from cxrvl.data.studies import StudyTable

CORNERS = ("x0", "y0", "x1", "y1")


class MarksEvaluator:
    """Localisation from image labels: predictions of kind "marks" (JAFROC, pointing game, region overlap).

    Args:
        splits: splits to score; metrics are of the first.
        max_marks, min_separation, smoothing, resolution, region_level: see `cxrvl.evaluation.marks.MarkOptions`.
        hit: when a mark hits a lesion: "inside_box" (its peak lies in the box, edges included), "radius" (its peak is
            within `hit_radius` of the box's centre), "iou" (its region overlaps the box by `hit_iou` or more).
        hit_radius: in shares of the native image's width (x) and height (y).
        hit_iou: intersection over union.
        iou_thresholds: overlaps at which the share of lesions found is reported.
        uncertain: what an uncertain target (-1) counts as: "ignore", "zeros" or "ones".
        groups: name -> labels whose mean figure of merit is reported apart.
        weighted: weight lesions so that each abnormal image counts the same.
        bootstrap, seed, confidence: of the bootstrap over patients.

    Raises:
        ConfigError: options that cannot be right.
    """

    kind = "marks"

    def __init__(
        self,
        splits: Sequence[str] = ("test",),
        max_marks: int = 5,
        min_separation: float = 0.1,
        smoothing: float = 0.0,
        resolution: int = 64,
        region_level: float = 0.5,
        hit: str = "inside_box",
        hit_radius: float = 0.1,
        hit_iou: float = 0.25,
        iou_thresholds: Sequence[float] = (0.1, 0.3, 0.5, 0.7),
        uncertain: str = "ignore",
        groups: Mapping[str, Sequence[str]] | None = None,
        weighted: bool = False,
        bootstrap: int = 1000,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.splits = tuple(str(name) for name in splits)
        if not self.splits:
            raise ConfigError("evaluation splits is empty; name the splits to score")
        if hit not in HIT_RULES:
            raise ConfigError(f"evaluation hit is {hit!r}; expected one of {', '.join(HIT_RULES)}")
        if uncertain not in UNCERTAIN_POLICIES:
            raise ConfigError(f"evaluation uncertain is {uncertain!r}; expected one of {', '.join(UNCERTAIN_POLICIES)}")
        shares = {"min_separation": min_separation, "region_level": region_level, "hit_iou": hit_iou,
                  "confidence": confidence}  # fmt: skip
        wrong = [f"{name}={value}" for name, value in shares.items() if not 0 < value < 1]
        counts = {"max_marks": max_marks, "resolution": resolution, "bootstrap": bootstrap}
        wrong += [f"{name}={value}" for name, value in counts.items() if value < 1]
        lengths = {"smoothing": smoothing, "hit_radius": hit_radius}
        wrong += [f"{name}={value}" for name, value in lengths.items() if value < 0]
        if wrong:
            raise ConfigError(f"evaluation {', '.join(wrong)}: expected shares between 0 and 1, counts of at least 1, "
                              "and no negative length")  # fmt: skip
        self.marks = MarkOptions(max_marks, min_separation, smoothing, resolution, region_level)
        self.options = MarksOptions(
            self.splits[0], hit, hit_radius, hit_iou, tuple(float(value) for value in iou_thresholds), uncertain,
            {k: tuple(v) for k, v in (groups or {}).items()}, weighted, bootstrap, seed, confidence,
        )  # fmt: skip

    def rows(self, batch: Mapping[str, Any], output: Any, table: "StudyTable") -> pd.DataFrame:
        """Marks of every image and label of a batch, and the lesions that the study table has boxes of.

        Places are in normalised native coordinates, regions clipped to the image; a peak in padding is outside [0, 1].
        `number` counts marks from the highest (0) and lesions in the table's order. A lesion has its box's centre.

        Args:
            batch: has `index` (B,), rows of the study table, and `fov` (B, 4), what the model input covers.
            output: has `maps` (B, L, h, w), logits, L the table's labels in their order.

        Raises:
            RunError: maps of another shape or with values that are not finite.
        """
        index, maps = np.asarray(batch["index"], dtype=np.int64), to_numpy(output.maps)
        if maps.ndim != 4 or maps.shape[:2] != (len(index), len(table.labels)):
            raise RunError(f"the model gave class maps of shape {maps.shape} for {len(index)} images and "
                           f"{len(table.labels)} labels; expected (images, labels, height, width)")  # fmt: skip
        images = table.frame.iloc[index]
        if not np.isfinite(maps).all():
            bad = int(np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2, 3)))[0])
            raise RunError(f"the class maps of image {images.iloc[bad]['image']} are not finite: the model has "
                           "diverged or overflows in this precision")  # fmt: skip
        marks = self._mark_rows(maps, to_numpy(batch["fov"]), table.labels)
        rows = pd.concat([marks, _lesion_rows(images["boxes"], table.labels)], ignore_index=True)
        image, label = rows.pop("image").to_numpy(dtype=np.int64), rows.pop("label").to_numpy(dtype=np.int64)
        about = {name: values[image] for name, values in image_columns(images).items()}
        names = np.array(table.labels, dtype=object)
        targets = images[list(table.labels)].to_numpy(dtype=np.float32)
        frame = pd.DataFrame(about | {"label": names[label]})
        for name in ("entry", "number"):
            frame[name] = rows[name].to_numpy()
        rows["target"] = targets[image, label]
        for name in MARK_NUMBERS:
            frame[name] = rows[name].to_numpy(dtype=np.float32)
        return frame

    def collect(self, parts: Sequence[pd.DataFrame], table: "StudyTable", *, partial: bool = False) -> Predictions:
        """Join the rows of all batches and processes; see `cxrvl.evaluation.collection.collect`."""
        return collect(self.kind, parts, table, self.splits, partial=partial)

    def metrics(self, predictions: Predictions) -> dict[str, Any]:
        """All metrics of `marks_metrics`, JSON-able."""
        return marks_metrics(predictions, self.options)

    def _mark_rows(self, maps: NDArray[np.float32], fov: NDArray[np.float32], labels: Sequence[str]) -> pd.DataFrame:
        """One row per mark; `image` and `label` are positions in the batch and among the labels."""
        count, number = maps.shape[0] * maps.shape[1], self.marks.max_marks
        found = find_marks(maps.reshape(count, *maps.shape[2:]), self.marks)
        view = np.repeat(fov, len(labels), axis=0)[:, None, :]  # (maps, 1, 4)
        low, size = view[..., :2], view[..., 2:] - view[..., :2]
        place = low + np.stack([found.x, found.y], axis=-1) * size
        corners = [low + found.region[..., :2] * size, low + found.region[..., 2:] * size]
        region = np.clip(np.concatenate(corners, axis=-1), 0.0, 1.0)
        which, rank = (axis.ravel() for axis in np.indices((count, number)))
        frame = pd.DataFrame({"image": which // len(labels), "label": which % len(labels), "number": rank})
        frame["entry"], frame["rating"] = "mark", found.rating.ravel()
        frame[["x", "y"]] = place.reshape(-1, 2)
        frame[list(CORNERS)] = region.reshape(-1, 4)
        return frame[frame["rating"].notna()]


def _lesion_rows(boxes: pd.Series, labels: Sequence[str]) -> pd.DataFrame:
    """One row per box of the batch's images; boxes of findings outside the vocabulary are left out."""
    place = {label: number for number, label in enumerate(labels)}
    entries = [(image, place[box[0]], *box[1:]) for image, here in enumerate(boxes) for box in here if box[0] in place]
    frame = pd.DataFrame(entries, columns=["image", "label", *CORNERS])
    frame["number"] = frame.groupby(["image", "label"]).cumcount()
    frame["entry"], frame["rating"] = "lesion", np.nan
    frame["x"], frame["y"] = (frame["x0"] + frame["x1"]) / 2, (frame["y0"] + frame["y1"]) / 2
    return frame

"""How does the phantom become a data set? The study table and the pixels of a synthetic cohort."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrvl.data.boxes import Box
from cxrvl.data.labels import choose_labels
from cxrvl.data.phantom.cohort import BOTH, HOSPITALS, LEFT, NO_SIDE, RIGHT, SIDE_NAMES, Cohort, CohortOptions, earlier
from cxrvl.data.phantom.dicom import write_dicom
from cxrvl.data.phantom.diseases import disease_boxes
from cxrvl.data.phantom.draws import BoolArray
from cxrvl.data.phantom.findings import finding_boxes
from cxrvl.data.phantom.render import GENERATOR_VERSION, Phantom
from cxrvl.data.phantom.reports import REPORTS, course_columns, report_columns, studies
from cxrvl.data.phantom.tasks import TASKS
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

_KEY = re.compile(r"phantom/(\d+)/(\d{6,})")


class PhantomSource:
    """A synthetic cohort with known truth: a mechanism test, never clinical evidence (DESIGN.md section 6).

    An image depends on seed, number and options alone: cohorts of different length agree where they overlap.

    Args:
        images: number of images, about half as many patients.
        seed: non-negative seed of the cohort.
        size: side of the square native image in pixels, at least 32.
        labels: the findings to label, in order; all of FINDINGS, or the task's label, if None. Others may still be seen
            in the images.
        split: share of patients in train, val, test and unlabelled; 0.6, 0.15, 0.25 and none if None.
        prevalence: share of images with each finding, for all or per finding, in [0, 0.6]; about 0.2 if None.
        severity: lowest and highest severity in (0, 1]; 0.05 is barely visible.
        hospitals: "mixed" (A and B), "shift" (test patients in B, all others in A), "arrival" (unlabelled and test
            patients in C, whose pictures look quite different, all others in A), "A", "B" or "C".
        shareable: see `Source`; nobody's images, so the YAML of this source says true.
        task: "findings", or one diagnosis to learn: "tuberculosis", "covid", "pneumothorax", other findings rarer.
        follow_ups: chance of each finding to get better or worse, appear or resolve from one visit of a patient to the
            next; None leaves it to the loose course of visits.
        reports: "none", a house style ("prose", "terse", "verbose"), or "by_hospital" (A prose, B terse, C
            verbose).
        name: goes into the column `dataset`, so that several cohorts can be mixed.
    """

    def __init__(
        self,
        images: int = 2000,
        seed: int = 0,
        size: int = 128,
        labels: Sequence[str] | None = None,
        split: Mapping[str, float] | None = None,
        prevalence: float | Mapping[str, float] | None = None,
        severity: tuple[float, float] = (0.1, 1.0),
        hospitals: str = "mixed",
        shareable: bool = False,
        task: str = "findings",
        follow_ups: float | None = None,
        reports: str = "none",
        name: str = "phantom",
    ) -> None:
        self.images = images
        self.seed = seed
        self.size = size
        self.labels = labels
        self.split = split
        self.prevalence = prevalence
        self.severity = severity
        self.hospitals = hospitals
        self.shareable = shareable
        self.task = task
        self.follow_ups = follow_ups
        self.report_style = reports
        self.name = name

    def options(self) -> CohortOptions:
        """Check the options; ConfigError names the one that cannot be right."""
        for option, value, least in (("images", self.images, 1), ("seed", self.seed, 0), ("size", self.size, 32)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"phantom {option} is {value!r}; give a whole number of at least {least}.")
        if self.seed >= 2**63:
            raise ConfigError(f"phantom seed is {self.seed}; give one below 2**63.")
        if self.report_style not in REPORTS:
            raise ConfigError(f"phantom reports is {self.report_style!r}; choose one of {list(REPORTS)}.")
        low, high = self.severity
        split = dict(self.split) if self.split is not None else None
        return CohortOptions.checked(self.prevalence, (low, high), self.hospitals, split, self.task, self.follow_ups)

    def table(self) -> StudyTable:
        """Draw the study table without drawing an image.

        Beside the contract's columns: hospital ("A", "B", "C"), visit (0, 1, ...), for each label side/<label> ("right",
        "left", "" where absent or central) and severity/<label> in [0, 1]; and what is independent of every finding:
        device ("pacemaker+line", ...), marker ("R", "L", ""), rotation in [-1, 1]. With `reports`, their sections; with
        `follow_ups`, prior (key of the image of the visit before, "" for none), days since then, and for each label
        change/<label>: new, worse, better, unchanged, resolved, "".
        """
        phantom = self._phantom(np.arange(self._count(), dtype=np.int64))
        cohort = phantom.cohort
        asked = TASKS[self.task].label
        usual = (asked,) if asked else cohort.findings
        labels = choose_labels(usual if self.labels is None else self.labels, cohort.findings, self.name)
        patients = [f"phantom-{self.seed}-{patient:06d}" for patient in cohort.patient.tolist()]
        columns: dict[str, Any] = {
            "image": [self.key(index) for index in cohort.index.tolist()],
            "dataset": self.name,
            "patient": patients,
            "study": [f"{patient}-{visit}" for patient, visit in zip(patients, cohort.visit.tolist(), strict=True)],
            "view": "PA",
            "sex": np.where(cohort.female, "F", "M"),
            "age": cohort.age.astype(np.float32),
            "split": cohort.split,
            "boxes": self._boxes(phantom, labels),
            "width": np.float32(self.size),
            "height": np.float32(self.size),
            "hospital": np.array(HOSPITALS)[cohort.hospital],
            "visit": cohort.visit,
            "device": _device_names(phantom),
            "marker": np.array(["R", "L", ""])[phantom.devices.marker],
            "rotation": phantom.anatomy.pose.rotation.astype(np.float32),
        }
        sides = np.array([SIDE_NAMES[side] for side in (NO_SIDE, RIGHT, LEFT, BOTH)])
        for label in labels:
            column = cohort.findings.index(label)
            present = cohort.present[:, column]
            columns[label] = present.astype(np.float32)
            columns[f"side/{label}"] = sides[np.where(present, cohort.side[:, column], NO_SIDE) + 1]
            columns[f"severity/{label}"] = cohort.severity[:, column].astype(np.float32)
        columns |= self._told(phantom, labels)
        origin = f"phantom (seed {self.seed}, {self.images} images)"
        note = f"synthetic images: phantom generator version {GENERATOR_VERSION}, no clinical evidence"
        frame = pd.DataFrame(columns)
        return StudyTable.build(frame, labels, split_name="phantom", root=None, origin=origin, notes=(note,))

    def key(self, index: int) -> str:
        """Name one image."""
        return f"phantom/{self.seed}/{index:06d}"

    def read(self, image_key: str) -> NDArray[np.float32]:
        """Draw one image: (size, size) float32 in [0, 1]; DataError for a key of another cohort."""
        image: NDArray[np.float32] = self.read_many([image_key])[0]
        return image

    def read_many(self, image_keys: Sequence[str]) -> NDArray[np.float32]:
        """Draw several images, (N, size, size) float32 in [0, 1], in the order of the keys."""
        return self._phantom(np.array([self._index(key) for key in image_keys], dtype=np.int64)).render(self.size)

    def finding_masks(self, image_key: str, size: int | None = None) -> dict[str, BoolArray]:
        """Draw the region of each finding present in one image: label -> (size, size) bool, native size if None."""
        return self._phantom(np.array([self._index(image_key)], dtype=np.int64)).masks(0, size or self.size)

    def write_dicom(
        self,
        folder: str | Path,
        indices: Sequence[int],
        *,
        monochrome1: bool | None = False,
        bits: int = 12,
        window: str = "LINEAR",
    ) -> list[Path]:
        """Write images as DICOM files labelled SYNTHETIC; see `cxrvl.data.phantom.dicom.write_dicom`."""
        phantom = self._phantom(np.asarray(indices, dtype=np.int64))
        return write_dicom(
            Path(folder), phantom.render(self.size), phantom.cohort, monochrome1=monochrome1, bits=bits, window=window
        )

    def pixel_identity(self) -> dict[str, Any]:
        """Everything that determines the pixels, as JSON values; the number of images does not."""
        options = self.options()
        identity: dict[str, Any] = {
            "generator": GENERATOR_VERSION,
            "seed": self.seed,
            "size": self.size,
            "prevalence": dict(options.prevalence),
            "severity": list(options.severity),
            "hospitals": options.hospitals,
            # Which patients are in which hospital depends on the split only under a hospital shift.
            "split": dict(options.split) if options.hospitals in ("shift", "arrival") else None,
        }
        # Cohorts without these options keep the identity they had before there were any.
        if TASKS[options.task].disease:
            identity["task"] = options.task
        if options.follow_ups is not None:
            identity["follow_ups"] = options.follow_ups
        return identity

    def _count(self) -> int:
        self.options()
        return self.images

    def _phantom(self, indices: NDArray[np.int64]) -> Phantom:
        return Phantom(Cohort.draw(self.seed, indices, self.options()))

    def _index(self, image_key: str) -> int:
        match = _KEY.fullmatch(image_key)
        if match is None or int(match[1]) != self.seed:
            raise DataError(
                f"image {image_key!r} is none of this phantom cohort; expected {self.key(0)!r} and so on. "
                "Take the keys from this source's own table."
            )
        return int(match[2])

    def _told(self, phantom: Phantom, labels: Sequence[str]) -> dict[str, Any]:
        """Reports and what has changed, where asked for."""
        columns: dict[str, Any] = {}
        if self.report_style == "none" and self.follow_ups is None:
            return columns
        seen = studies(phantom, self.options())
        if self.follow_ups is not None:
            before = earlier(self.seed, phantom.cohort.index).tolist()
            columns["prior"] = [self.key(index) if index >= 0 else "" for index in before]
            columns |= course_columns(seen, labels)
        return columns if self.report_style == "none" else columns | report_columns(seen, self.report_style)

    def _boxes(self, phantom: Phantom, labels: Sequence[str]) -> list[list[Box]]:
        boxes: list[list[Box]] = [[] for _ in range(len(phantom.cohort))]
        rows, columns, corners = finding_boxes(phantom.cohort, phantom.anatomy, phantom.lesions)
        for row, column, corner in zip(rows.tolist(), columns.tolist(), corners.tolist(), strict=True):
            if phantom.cohort.findings[column] in labels:
                boxes[row].append((phantom.cohort.findings[column], *corner))
        if phantom.disease is not None and phantom.cohort.findings[-1] in labels:
            rows, corners = disease_boxes(phantom.cohort, phantom.anatomy, phantom.disease)
            for row, corner in zip(rows.tolist(), corners.tolist(), strict=True):
                boxes[row].append((phantom.cohort.findings[-1], *corner))
        return boxes


def _device_names(phantom: Phantom) -> NDArray[np.str_]:
    names = np.full(len(phantom.cohort), "", dtype="U40")
    for device in ("pacemaker", "line", "tube", "electrodes"):
        there = getattr(phantom.devices, device)
        joint = np.where(names == "", device, np.char.add(names, f"+{device}"))
        names = np.where(there, joint, names)
    return names

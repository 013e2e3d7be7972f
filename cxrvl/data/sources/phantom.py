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
from cxrvl.data.phantom.cohort import FINDINGS, HOSPITALS, LEFT, NO_SIDE, SIDE_NAMES, Cohort, CohortOptions
from cxrvl.data.phantom.dicom import write_dicom
from cxrvl.data.phantom.draws import BoolArray
from cxrvl.data.phantom.findings import finding_boxes
from cxrvl.data.phantom.render import GENERATOR_VERSION, Phantom
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
        labels: the findings to label, in order; all of FINDINGS if None. Others may still be seen in the images.
        split: share of patients in train, val and test; 0.6, 0.15, 0.25 if None.
        prevalence: share of images with each finding, for all or per finding, in [0, 0.6]; about 0.2 if None.
        severity: lowest and highest severity in (0, 1]; 0.05 is barely visible.
        hospitals: "mixed", "shift" (test patients in B, all others in A), "A" or "B".
        shareable: see `Source`; nobody's images, so the YAML of this source says true.
    """

    name = "phantom"

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

    def options(self) -> CohortOptions:
        """Check the options; ConfigError names the one that cannot be right."""
        for option, value, least in (("images", self.images, 1), ("seed", self.seed, 0), ("size", self.size, 32)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"phantom {option} is {value!r}; give a whole number of at least {least}.")
        if self.seed >= 2**63:
            raise ConfigError(f"phantom seed is {self.seed}; give one below 2**63.")
        low, high = self.severity
        split = dict(self.split) if self.split is not None else None
        return CohortOptions.checked(self.prevalence, (low, high), self.hospitals, split)

    def table(self) -> StudyTable:
        """Draw the study table without drawing an image.

        Beside the contract's columns: hospital ("A", "B"), visit (0, 1, ...), for each label side/<label> ("right",
        "left", "" where absent or central) and severity/<label> in [0, 1]; and what is independent of every finding:
        device ("pacemaker+line", ...), marker ("R", "L", ""), rotation in [-1, 1].
        """
        phantom = self._phantom(np.arange(self._count(), dtype=np.int64))
        cohort = phantom.cohort
        labels = choose_labels(FINDINGS if self.labels is None else self.labels, FINDINGS, self.name)
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
        sides = np.array([SIDE_NAMES[side] for side in (NO_SIDE, 0, LEFT)])
        for label in labels:
            column = FINDINGS.index(label)
            present = cohort.present[:, column]
            columns[label] = present.astype(np.float32)
            columns[f"side/{label}"] = sides[np.where(present, cohort.side[:, column], NO_SIDE) + 1]
            columns[f"severity/{label}"] = cohort.severity[:, column].astype(np.float32)
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

    def write_dicom(self, folder: str | Path, indices: Sequence[int], *, monochrome1: bool = False) -> list[Path]:
        """Write images as DICOM files labelled SYNTHETIC; see `cxrvl.data.phantom.dicom.write_dicom`."""
        phantom = self._phantom(np.asarray(indices, dtype=np.int64))
        return write_dicom(Path(folder), phantom.render(self.size), phantom.cohort, monochrome1=monochrome1)

    def pixel_identity(self) -> dict[str, Any]:
        """Everything that determines the pixels, as JSON values; the number of images does not."""
        options = self.options()
        return {
            "generator": GENERATOR_VERSION,
            "seed": self.seed,
            "size": self.size,
            "prevalence": dict(options.prevalence),
            "severity": list(options.severity),
            "hospitals": options.hospitals,
            # Which patients are in hospital B depends on the split only under a hospital shift.
            "split": dict(options.split) if options.hospitals == "shift" else None,
        }

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

    def _boxes(self, phantom: Phantom, labels: Sequence[str]) -> list[list[Box]]:
        boxes: list[list[Box]] = [[] for _ in range(len(phantom.cohort))]
        rows, columns, corners = finding_boxes(phantom.cohort, phantom.anatomy, phantom.lesions)
        for row, column, corner in zip(rows.tolist(), columns.tolist(), corners.tolist(), strict=True):
            if FINDINGS[column] in labels:
                boxes[row].append((FINDINGS[column], *corner))
        return boxes


def _device_names(phantom: Phantom) -> NDArray[np.str_]:
    names = np.full(len(phantom.cohort), "", dtype="U40")
    for device in ("pacemaker", "line", "tube", "electrodes"):
        there = getattr(phantom.devices, device)
        joint = np.where(names == "", device, np.char.add(names, f"+{device}"))
        names = np.where(there, joint, names)
    return names

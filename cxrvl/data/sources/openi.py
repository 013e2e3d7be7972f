"""How is Open-i (Indiana University) read? 3,955 reports, their images in any of three layouts, and labels from three hands.

Demner-Fushman et al., JAMIA 2016. Every report is another patient's, so a report's number is its patient. Reports are
CC BY-NC-ND 4.0: they are read in place, and nothing made from their text may be passed on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.checks import listing
from cxrvl.data.labels import map_labels
from cxrvl.data.read_options import Intensity
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.sources.base import FileSource, known_options
from cxrvl.data.sources.choices import Uncertain, keep_views, pick_labels, settle_uncertain
from cxrvl.data.sources.image_files import image_keys
from cxrvl.data.sources.openi_files import OPENI_SECTIONS, OpenIReport, match_files, read_reports, read_views
from cxrvl.data.sources.openi_labels import LABEL_MAPS, gold_labels, rule_labels, term_labels
from cxrvl.data.sources.split_option import RowSplit, SplitOption, split_rows
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

REPORTS = 3_955
POLICIES = (*LABEL_MAPS, "none")
# Without labels: a report is in the same split whoever labels it.
SPLIT: SplitOption = {"by": "patient", "fractions": {"train": 0.7, "val": 0.1, "test": 0.2}, "seed": 0}


class OpenI(FileSource):
    """Open-i's chest radiographs and reports below `root`.

    reports: NLM's NLMCXR_reports.tgz, a folder of its XML files, or Kaggle's indiana_reports.csv.
    projections: Kaggle's indiana_projections.csv, which says Frontal or Lateral; None = views unknown.
    labels_from: "gold" (`labels_file`, NegBio's 2,310 annotated reports), "rules" (the labeler, all reports), "mesh"
        (the indexers' terms, all indexed reports) or "none".
    label_map: by policy, written name -> name in the joint vocabulary or None; None = `LABEL_MAPS`.
    labels: some of the mapped labels, in output order; None = all. uncertain: see `choices.settle_uncertain`.
    split: the name of a split file (`patient,split`) or a new split, see `split_rows`; None = `SPLIT`.
    views: keep only these of "Frontal" and "L" (lateral); None = all.
    image_dirs: where the images lie below `root`, named as by NLM, Kaggle or R2Gen; None = anywhere.
    subset: keep the reports and images that are there, and note how many, instead of refusing absent ones.
    """

    def __init__(
        self,
        root: str | Path,
        reports: str = "NLMCXR_reports.tgz",
        projections: str | None = None,
        labels_from: str = "gold",
        labels_file: str = "labels_14.csv",
        label_map: Mapping[str, Mapping[str, str | None]] | None = None,
        labels: Sequence[str] | None = None,
        uncertain: Uncertain = "keep",
        split: SplitOption | None = None,
        views: Sequence[str] | None = None,
        image_dirs: Sequence[str] | None = None,
        subset: bool = False,
        intensity: Intensity = "auto",
        name: str = "openi",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, shareable=shareable)
        self.reports_file = reports
        self.projections = projections
        self.labels_from = labels_from
        self.labels_file = labels_file
        self.label_map = label_map
        self.labels = labels
        self.uncertain = uncertain
        self.split = split
        self.views = views
        self.image_dirs = image_dirs
        self.subset = subset

    def reports(self) -> ReportTable:
        """Read all reports, with and without images; DataError names the file and the member or row."""
        reports, _, notes = self._read()
        frame, labels, split, more = self._reports_frame(reports)
        return ReportTable.build(
            frame, labels, split_name=split.name, origin=self._origin, split_lists=split.lists, notes=(*notes, *more)
        )

    def table(self) -> StudyTable:
        """Read the images, each with its study's report and labels; DataError names the file and the member or row."""
        reports, views, notes = self._read()
        frame, labels, split, more = self._reports_frame(reports)
        rows, keys, names, found = self._images(reports)
        frame = frame.drop(columns="images").iloc[rows].reset_index(drop=True)
        frame = frame.assign(image=keys, view=[views.get(name, "") for name in names])
        return StudyTable.build(
            keep_views(frame, self.views, self._origin),
            labels,
            split_name=split.name,
            root=self.root,
            origin=self._origin,
            split_lists=split.lists,
            notes=(*notes, *more, *found),
        )

    @property
    def _origin(self) -> str:
        return str(self.root / self.reports_file)

    def _read(self) -> tuple[list[OpenIReport], dict[str, str], tuple[str, ...]]:
        """The reports with their images' names, the views by image name, and notes."""
        path = self.root / self.reports_file
        reports, mended = read_reports(path if path.is_dir() else self._file(self.reports_file, "data.source.reports"))
        notes = list(mended)
        if len(reports) < REPORTS:
            notes.append(f"{len(reports):,} of the collection's {REPORTS:,} reports are there")
        silent = sum(not (report.sections.get("findings") or report.sections.get("impression")) for report in reports)
        if silent:
            notes.append(f"{silent} of {len(reports):,} reports have neither findings nor impression")
        if self.projections is None:
            return reports, {}, tuple(notes)
        file = self._file(self.projections, "data.source.projections")
        views = read_views(file)
        if path.suffix == ".csv":
            reports = _with_images(reports, views)
        return reports, views, (*notes, *self._compared(reports, views, file))

    def _compared(self, reports: Sequence[OpenIReport], views: Mapping[str, str], file: Path) -> list[str]:
        """Refuse views of images that no report has, unless a subset is asked for; notes on what one side lacks."""
        known = {name for report in reports for name in report.images}
        strange, unseen = sorted(set(views) - known), len(known - set(views))
        if strange and not self.subset:
            raise DataError(
                f"{file}: its images {listing(strange)} belong to no report of {self._origin} ({len(strange)} such rows); "
                "fetch all reports, or use those that are there with data.source.subset=true"
            )
        notes = [f"subset: {len(strange)} images of {file.name} belong to no report"] if strange else []
        if unseen:
            notes.append(f"{unseen} images are not in {file.name}: their view is unknown")
        return notes

    def _reports_frame(
        self, reports: Sequence[OpenIReport]
    ) -> tuple[pd.DataFrame, tuple[str, ...], RowSplit, tuple[str, ...]]:
        """One row per report: keys, split, sections, number of images, labels; label names; split; notes."""
        studies = [report.study for report in reports]
        values, notes = self._labelled(reports)
        values = pick_labels(settle_uncertain(values, self.uncertain, self.name), self.labels, self.name)
        frame = pd.DataFrame(
            {
                "dataset": self.name,
                "study": studies,
                "patient": studies,
                "images": [len(report.images) for report in reports],
                **{name: [report.sections.get(name, "") for report in reports] for name in OPENI_SECTIONS},
            }
        )
        frame = pd.concat([frame, values], axis=1)
        labels = tuple(values.columns)
        split = split_rows(self, frame, labels, SPLIT if self.split is None else self.split, self._origin)
        return frame.assign(split=split.split), labels, split, notes

    def _labelled(self, reports: Sequence[OpenIReport]) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Label values (N, L) in the joint vocabulary, in the order of the reports, and notes."""
        maps = LABEL_MAPS if self.label_map is None else self.label_map
        known_options(maps, tuple(LABEL_MAPS), f"{self.name}: label_map")
        if self.labels_from not in POLICIES:
            raise DataError(
                f"{self.name}: labels_from is {self.labels_from!r}{did_you_mean(self.labels_from, POLICIES)}"
            )
        if self.labels_from == "none":
            return pd.DataFrame(index=range(len(reports))), ()
        label_map = maps.get(self.labels_from, LABEL_MAPS[self.labels_from])
        if self.labels_from == "rules":
            return map_labels(rule_labels(reports), label_map, self._origin), ("labels by rules, from the reports",)
        if self.labels_from == "mesh":
            written, notes = term_labels(reports, list(label_map), self._origin)
            return map_labels(written, label_map, self._origin), notes
        path = self._file(self.labels_file, "data.source.labels_file")
        gold, notes = gold_labels(path, reports, self.subset)
        mapped = map_labels(gold.drop(columns="study"), label_map, str(path)).set_axis(gold["study"], axis=0)
        return mapped.reindex([report.study for report in reports]).reset_index(drop=True), notes

    def _images(self, reports: Sequence[OpenIReport]) -> tuple[np.ndarray, list[str], list[str], tuple[str, ...]]:
        """Of every image on disk: the row of its report, its key and common name; notes."""
        folders = [""] if self.image_dirs is None else list(self.image_dirs)
        keys = [key for folder in folders for key in image_keys(self.root, folder)[0]]
        found, strange = match_files(reports, keys, str(self.root))
        named = [(row, name) for row, report in enumerate(reports) for name in report.images]
        there = [(row, name) for row, name in named if name in found]
        if not there or (len(there) < len(named) and not self.subset):
            absent = [name for _, name in named if name not in found]
            raise DataError(
                f"{self.root}: {len(absent)} of {len(named)} images that {self._origin} names are absent "
                f"({listing(absent)}); download the rest, set data.source.image_dirs, or use those that are there with "
                "data.source.subset=true"
            )
        notes = []
        if len(there) < len(named):
            notes.append(f"subset: {len(there)} of {len(named)} images are on disk")
        if strange:
            notes.append(f"{strange} image files below {self.root.name} belong to no report")
        rows = np.array([row for row, _ in there], dtype=np.int64)
        return rows, [found[name] for _, name in there], [name for _, name in there], tuple(notes)


def _with_images(reports: Sequence[OpenIReport], views: Mapping[str, str]) -> list[OpenIReport]:
    """Name the images of reports from Kaggle's table, which names none.

    Kaggle lists frontal images first; the XML, and copies that number a study's images, go by name.
    """
    of_study: dict[str, list[str]] = {}
    for name in sorted(views):
        of_study.setdefault(f"CXR{name.partition('_')[0]}", []).append(name)
    return [report._replace(images=tuple(of_study.get(report.study, ()))) for report in reports]

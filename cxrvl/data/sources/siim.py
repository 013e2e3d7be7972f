"""How is the SIIM-ACR pneumothorax set read? Run-length masks become the label Pneumothorax and boxes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrvl.data.boxes import Box, Corners
from cxrvl.data.checks import check_columns, listing
from cxrvl.data.read_options import Intensity, Window
from cxrvl.data.sources.assembly import assemble
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.image_files import images_by_name
from cxrvl.data.sources.run_lengths import EMPTY, component_boxes, decode_mask
from cxrvl.data.sources.split_option import SplitOption
from cxrvl.data.sources.tables import read_table
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

FILES = ("stage_2_train.csv", "train-rle.csv")
# The second name starts with a blank in train-rle.csv; tables are read without blanks around names.
COLUMNS = ("ImageId", "EncodedPixels")
SIDE = 1024
"""Height and width of every image and mask of the challenge, in pixels."""
LABEL_MAP = {"Pneumothorax": "Pneumothorax"}
NOTES = (
    "siim: patients are not given: every image is taken as its own patient",
    "siim: its images are a part of ChestX-ray14: do not train on one of the two and test on the other",
)


class SIIM(FileSource):
    """SIIM-ACR Pneumothorax Segmentation (Kaggle, 2019): one or several masks, or -1, per image.

    file: the table of masks; None = the first of `FILES` below the root. Images are `<ImageId>.dcm`, .png or .jpg at
    any depth below `image_dirs` (None = the whole root); images that the table does not name are left out.
    Boxes are drawn around the connected parts of an image's masks.
    split: see `cxrvl.data.sources.split_option.split_rows`; None = `BY_PATIENT`, and every image is its own patient.
    intensity, window: see `cxrvl.data.read_options.ReadOptions`.
    """

    def __init__(
        self,
        root: str | Path,
        file: str | None = None,
        image_dirs: Sequence[str] | None = None,
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        subset: bool = False,
        intensity: Intensity = "auto",
        window: Window = "file",
        name: str = "siim",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, intensity, window, shareable)
        self.file = file
        self.image_dirs = image_dirs
        self.split = split
        self.label_map = LABEL_MAP if label_map is None else label_map
        self.labels = labels
        self.subset = subset

    def table(self) -> StudyTable:
        """Read masks and files and check them; DataError names the row."""
        path = self._file(self.file or self._usual_file(), "data.source.file")
        raw = read_table(path)
        origin = str(path)
        check_columns(raw, COLUMNS, origin)
        files = images_by_name(self.root, self.image_dirs)
        ids = raw["ImageId"].fillna("").str.strip()
        names = ids[~ids.duplicated()]
        corners = _corners(raw["EncodedPixels"].fillna("").str.strip(), ids, origin)
        written = pd.DataFrame({"Pneumothorax": [float(bool(corners[name])) for name in names]}, index=names.index)
        # An id without a file stays as it is, for the checks to name.
        frame = pd.DataFrame({"image": names.map(lambda name: files.get(name, name)), "patient": names})
        target = self.label_map.get("Pneumothorax")
        if target is not None:
            boxes: list[list[Box]] = [[(target, *box) for box in corners[name]] for name in names]
            frame["boxes"] = pd.Series(boxes, index=names.index, dtype=object)
        extra = set(files) - set(names)
        notes: tuple[str, ...] = NOTES
        if extra:
            notes = (*notes, f"{len(extra)} images are not in {path.name} and left out: {listing(sorted(extra))}")
        return assemble(
            self, frame, written, self.label_map, origin=origin, split=self.split, labels=self.labels,
            subset=self.subset, notes=notes,
        )  # fmt: skip

    def _usual_file(self) -> str:
        return next((name for name in FILES if (self.root / name).is_file()), FILES[0])


def _corners(runs: pd.Series, ids: pd.Series, origin: str) -> dict[str, list[Corners]]:
    """Boxes of each image, [] where its one row says -1; DataError naming the row of a mask that cannot be."""
    corners: dict[str, list[Corners]] = {}
    for name, texts in runs.groupby(ids, sort=False):
        if len(texts) > 1 and (texts == EMPTY).any():
            row = int(texts.index[texts == EMPTY][0]) + 1
            raise DataError(
                f"{origin}, row {row}: image {name!r} has {EMPTY} (no pneumothorax) and a second row; "
                f"expected one row with {EMPTY}, or masks only"
            )
        if texts.iloc[0] == EMPTY:
            corners[str(name)] = []
            continue
        masks = []
        for row, text in zip(texts.index.tolist(), texts, strict=True):
            try:
                masks.append(decode_mask(text, SIDE, SIDE))
            except ValueError as fault:
                raise DataError(f"{origin}, row {row + 1}, image {name!r}, column 'EncodedPixels': {fault}") from fault
        corners[str(name)] = component_boxes(masks)
    return corners

"""How is the Montgomery County set read? 138 frontal radiographs, tuberculosis or normal, with readings and lung masks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrvl.data.sources.nlm_tuberculosis import NLMTuberculosis
from cxrvl.data.sources.split_option import SplitOption

MASKS = {"left_mask": "ManualMask/leftMask", "right_mask": "ManualMask/rightMask"}


class Montgomery(NLMTuberculosis):
    """`MontgomerySet` as downloaded (Jaeger et al., 2014); options: see `NLMTuberculosis`.

    Further columns left_mask, right_mask: keys of the lung masks, "" where there is no file. The folders' left is said
    to be the left of the image, which is the patient's right: look before you name a side.
    """

    pattern = re.compile(r"MCUCXR_(\d{4})_([01])")
    published = 138

    def __init__(
        self,
        root: str | Path,
        images: str = "CXR_png",
        readings: str | None = "ClinicalReadings",
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        name: str = "montgomery",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, images, readings, split, label_map, labels, shareable)

    def complete(self, frame: pd.DataFrame, stems: Sequence[str]) -> pd.DataFrame:
        """Add the keys of the lung masks."""
        keys = {
            column: [f"{folder}/{stem}.png" if (self.root / folder / f"{stem}.png").is_file() else "" for stem in stems]
            for column, folder in MASKS.items()
        }
        return frame.assign(**keys)

    def example(self) -> str:
        """A file name of the set, for messages."""
        return "MCUCXR_0001_0.png"

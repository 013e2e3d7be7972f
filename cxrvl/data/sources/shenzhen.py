"""How is the Shenzhen Hospital set read? 662 frontal radiographs, tuberculosis or normal, each with a reading."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxrvl.data.sources.nlm_tuberculosis import NLMTuberculosis
from cxrvl.data.sources.split_option import SplitOption


class Shenzhen(NLMTuberculosis):
    """`ChinaSet_AllFiles` as downloaded (Jaeger et al., 2014); options: see `NLMTuberculosis`.

    The PNG files are palette images or RGB with equal channels, both read as grey.
    """

    pattern = re.compile(r"CHNCXR_(\d{4})_([01])")
    published = 662

    def __init__(
        self,
        root: str | Path,
        images: str = "CXR_png",
        readings: str | None = "ClinicalReadings",
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        name: str = "shenzhen",
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, images, readings, split, label_map, labels, shareable)

    def example(self) -> str:
        """A file name of the set, for messages."""
        return "CHNCXR_0001_0.png"

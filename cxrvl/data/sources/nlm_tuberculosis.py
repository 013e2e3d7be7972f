"""How are the two tuberculosis sets of the National Library of Medicine read? By their file names and clinical readings."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.data.sources.assembly import assemble
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.image_files import image_keys
from cxrvl.data.sources.nih14_files import PER_YEAR
from cxrvl.data.sources.split_option import SplitOption
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

LABEL_MAP: dict[str, str | None] = {"tuberculosis": "Tuberculosis", "normal": "No Finding"}
# Montgomery writes "Patient's Sex: F" and "Patient's Age: 027Y" in lines of their own, Shenzhen "female, 36yrs" first.
FIELD = re.compile(r"\s*patient\W?s\s+(?P<what>sex|age)\s*:\s*(?P<value>.*)", re.IGNORECASE)
SEX = re.compile(r"(?P<F>f(?:emal\w*)?)\b|(?P<M>m(?:al\w*)?)\b", re.IGNORECASE)
AGE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[ymwd]?)", re.IGNORECASE)


class Reading(NamedTuple):
    """What one clinical reading says: sex "F", "M" or "" and age in years or NaN where it does not; text: the rest."""

    sex: str
    age: float
    text: str


def parse_reading(text: str) -> Reading:
    """Take a clinical reading apart: who it is about, in fields or in the first line, and what was seen."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fields = {match["what"].lower(): match["value"] for line in lines if (match := FIELD.fullmatch(line))}
    if fields:
        rest = [line for line in lines if not FIELD.fullmatch(line)]
        return Reading(_sex(fields.get("sex", "")), _age(fields.get("age", "")), "\n".join(rest))
    if lines and _sex(lines[0]):
        return Reading(_sex(lines[0]), _age(lines[0]), "\n".join(lines[1:]))
    return Reading("", float("nan"), "\n".join(lines))


def _sex(text: str) -> str:
    match = SEX.match(text.strip())
    return (match.lastgroup or "") if match else ""


def _age(text: str) -> float:
    match = AGE.search(text)
    return float(match["number"]) / PER_YEAR[match["unit"].upper()] if match else float("nan")


class NLMTuberculosis(FileSource):
    """Base of Shenzhen and Montgomery: images, and the readings beside them, below `root`.

    The last figure of a file name is the label, 1 tuberculosis, 0 normal; the number before it is the patient, who has
    one image. A reading's text is the section `findings`.
    images, readings: folders below `root`; readings=null does without age, sex and text.
    split: see `cxrvl.data.sources.split_option.split_rows`; None = `BY_PATIENT`.
    label_map: tuberculosis, normal -> name in the vocabulary.
    """

    pattern: ClassVar[re.Pattern[str]]
    """File name without suffix: patient, then 0 or 1."""
    published: ClassVar[int]
    """Images of the complete set."""

    def __init__(
        self,
        root: str | Path,
        name: str,
        images: str = "CXR_png",
        readings: str | None = "ClinicalReadings",
        split: SplitOption | None = None,
        label_map: Mapping[str, str | None] | None = None,
        labels: Sequence[str] | None = None,
        shareable: bool = False,
    ) -> None:
        super().__init__(root, name, shareable=shareable)
        self.images = images
        self.readings = readings
        self.split = split
        self.label_map = LABEL_MAP if label_map is None else label_map
        self.labels = labels

    def table(self) -> StudyTable:
        """List the images, read the readings and check them; DataError names the file."""
        origin = f"{self.root / self.images} (listing)"
        keys, others = image_keys(self.root, self.images)
        stems = [key.rpartition("/")[2].rpartition(".")[0] for key in keys]
        matches = [self.pattern.fullmatch(stem) for stem in stems]
        strange = [key for key, match in zip(keys, matches, strict=True) if match is None]
        if strange or not keys:
            raise DataError(
                f"{origin}: found {f'the image {strange[0]!r}' if strange else 'no image'}, expected names such as "
                f"{self.example()}; set data.root, or data.source.images to the folder of the images"
            )
        named = [match.groups() for match in matches if match is not None]
        frame = pd.DataFrame({"image": keys, "patient": [patient for patient, _ in named], "view": "PA"})
        positive = np.array([float(label) for _, label in named], dtype=np.float32)
        written = pd.DataFrame({"tuberculosis": positive, "normal": 1 - positive})
        notes = [f"{self.name}: labels are those of the file names; every image is taken as its own patient"]
        if len(keys) != self.published:
            notes.append(f"{self.name}: {len(keys)} of {self.published} images are here")
        if others:
            notes.append(f"{self.name}: {len(others)} files that are no images are passed over: {listing(others)}")
        if self.readings is not None:
            read = [parse_reading(_reading_text(self.root / self.readings / f"{stem}.txt")) for stem in stems]
            frame["sex"] = [reading.sex for reading in read]
            frame["age"] = np.array([reading.age for reading in read], dtype=np.float32)
            frame["findings"] = [reading.text for reading in read]
            notes += self._doubts(read, positive)
        return assemble(
            self, self.complete(frame, stems), written, self.label_map, origin=origin, split=self.split,
            labels=self.labels, notes=notes,
        )  # fmt: skip

    def complete(self, frame: pd.DataFrame, stems: Sequence[str]) -> pd.DataFrame:
        """Add what one set has beside images and readings; stems: the images' names without suffix."""
        return frame

    def example(self) -> str:
        """A file name of the set, for messages."""
        raise NotImplementedError

    def _doubts(self, read: Sequence[Reading], positive: np.ndarray) -> list[str]:
        """Notes on readings without sex or age, and on those that say another thing than the file name."""
        counts = {
            "readings without a sex or an age that can be read": sum(not r.sex or np.isnan(r.age) for r in read),
            "readings without text": sum(not r.text for r in read),
            "images named tuberculosis whose reading is 'normal'": sum(
                bool(tb) and r.text.strip(". ").lower() == "normal" for r, tb in zip(read, positive, strict=True)
            ),
        }
        return [f"{self.name}: {count} {what}" for what, count in counts.items() if count]


def _reading_text(path: Path) -> str:
    """Read one reading; UTF-8, or the Windows-1252 of the machine it was typed on."""
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise DataError(
            f"{path}: the clinical reading cannot be opened ({fault.strerror}); every image has one: download the rest, "
            "set data.source.readings to their folder, or do without them (data.source.readings=null)"
        ) from fault
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError(f"{path}: the clinical reading is no text in UTF-8 or Windows-1252; download the file again")

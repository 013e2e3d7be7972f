"""What stands in Open-i's files? Reports as XML in an archive or a folder, or as Kaggle's tables; image names of all copies."""

import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns
from cxrvl.data.files import unsafe_key
from cxrvl.data.sources.assembly import recode
from cxrvl.data.sources.tables import read_table
from cxrvl.data.sources.xml_reader import LARGEST, parse_xml
from cxrvl.errors import DataError

OPENI_SECTIONS = ("comparison", "indication", "findings", "impression")
UNPACKED = 1_000_000_000
"""Bytes an archive may unpack to; the published one unpacks to 20 million."""
LOST = "#NAME?"
VIEWS = {"Frontal": "Frontal", "Lateral": "L"}
STUDY = re.compile(r"CXR[0-9]{1,9}")
# NLM writes CXR1_1_IM-0001-3001 (or CXR2_IM-0652-1001), Kaggle 1_IM-0001-3001.dcm.png for the same image.
IMAGE = re.compile(r"(?:CXR)?(?P<study>[0-9]{1,9})_(?:[0-9]+_)?(?P<rest>IM-[0-9-]+)")
# R2Gen and its followers number the images of a study: CXR368_IM-1832/0.png, also as CXR368_IM-1832_0.png.
NUMBERED = re.compile(r"CXR(?P<study>[0-9]{1,9})_(?:[0-9]+_)?IM-[0-9-]+[_/](?P<number>[0-9])")


class OpenIReport(NamedTuple):
    """One report: study "CXR1"; the sections; the indexers' terms ("Cardiomegaly/mild"); its images' common names."""

    study: str
    sections: dict[str, str]
    terms: tuple[str, ...]
    images: tuple[str, ...]


def common_name(image: str) -> str | None:
    """The name "1_IM-0001-3001" that all copies' names of one image share; None where it follows no copy's pattern."""
    match = IMAGE.fullmatch(image)
    return f"{int(match['study'])}_{match['rest']}" if match else None


def read_reports(path: Path) -> tuple[list[OpenIReport], tuple[str, ...]]:
    """Read all reports, sorted by number, and notes on what is wrong in them.

    path: a .tgz archive (read in place), a folder of XML files, or Kaggle's `indiana_reports.csv`, which names no images:
    those come from `read_views`. Raises DataError naming the file, and the member or row, of the first report that
    cannot be used.
    """
    notes: tuple[str, ...] = ()
    if path.suffix == ".csv":
        found, notes = _from_table(path)
    else:
        files = _folder(path) if path.is_dir() else _archive(path)
        found = [(origin, report_of(raw, origin)) for origin, raw in files]
    if not found:
        raise DataError(f"{path}: no report in it; expected XML files, as in NLMCXR_reports.tgz")
    first: dict[str, str] = {}
    for origin, report in found:
        if report.study in first:
            raise DataError(f"{origin}: report {report.study} stands in {first[report.study]} as well; remove one")
        first[report.study] = origin
    return sorted((report for _, report in found), key=lambda report: int(report.study[3:])), notes


def report_of(raw: bytes, origin: str) -> OpenIReport:
    """Read one report's XML; DataError naming `origin` where it is broken or is no report of this collection."""
    root = parse_xml(raw, origin)
    identity = root.find("uId")
    study = "" if identity is None else identity.get("id", "").strip()
    if not STUDY.fullmatch(study):
        raise DataError(f"{origin}: uId is {study!r}, expected CXR and a number; is this a report of Open-i?")
    sections: dict[str, str] = {}
    for part in root.iter("AbstractText"):
        name = str(part.get("Label")).lower()
        if name not in OPENI_SECTIONS or name in sections:
            what = "a second section" if name in sections else "a section"
            raise DataError(
                f"{origin}: {what} {name.upper()}, expected each of {', '.join(OPENI_SECTIONS).upper()} once"
            )
        if len(part):
            raise DataError(f"{origin}: <{part[0].tag}> inside the text of {name.upper()}, expected text only; "
                            "write < as &lt;, or remove the mark-up")  # fmt: skip
        sections[name] = (part.text or "").strip()
    if not sections:
        raise DataError(f"{origin}: no AbstractText; a report has at least one of {', '.join(OPENI_SECTIONS).upper()}")
    terms = tuple(" ".join((term.text or "").split()) for term in root.iter("major"))
    images = []
    for image in root.iter("parentImage"):
        common = common_name(image.get("id", ""))
        if common is None or common in images or f"CXR{common.partition('_')[0]}" != study:
            raise DataError(
                f"{origin}: parentImage {image.get('id', '')!r}, expected {study}_IM-... and each image once"
            )
        images.append(common)
    return OpenIReport(study, sections, terms, tuple(images))


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*.xml")):
        if file.name.startswith("."):
            continue
        try:
            with file.open("rb") as stream:
                yield str(file), stream.read(LARGEST + 1)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def _archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """The XML members of a tar archive, plain or gzipped, in place: nothing is unpacked, and no link is followed."""
    total = 0
    try:
        with path.open("rb") as file:
            mode = "r:gz" if file.read(2) == b"\x1f\x8b" else "r:"
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member in archive:
                origin = f"{path}, member {member.name!r}"
                total += max(member.size, 0)
                if total > UNPACKED:
                    raise DataError(
                        f"{origin}: the archive unpacks to more than {UNPACKED:,} bytes; this is not Open-i's"
                    )
                file = member.name.rpartition("/")[2]
                if member.isdir() or not file.endswith(".xml") or file.startswith("."):
                    continue
                reason = unsafe_key(member.name.removeprefix("./"))
                if reason or not member.isreg():
                    raise DataError(f"{origin}: its name {reason}" if reason else f"{origin}: it is no regular file")
                stream = archive.extractfile(member)
                if stream is not None:
                    yield origin, stream.read(LARGEST + 1)
            _check_end(archive, path)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: cannot be read as an archive of reports ({' '.join(str(error).split())}); fetch it again"
        ) from error


def _check_end(archive: tarfile.TarFile, path: Path) -> None:
    """Refuse an archive that does not end as archives do: tarfile takes a damaged header in its midst for the end.

    Reading to the end also makes gzip compare its checksum.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    rest = 0
    while chunk := archive.fileobj.read(1 << 20):
        rest += len(chunk)
        if chunk.strip(b"\0") or rest > UNPACKED:
            raise DataError(f"{path}: damaged behind its member {len(archive.getmembers())}; fetch it again")
    if rest < tarfile.BLOCKSIZE:
        raise DataError(f"{path}: it is cut off behind its member {len(archive.getmembers())}; fetch it again")


def _from_table(path: Path) -> tuple[list[tuple[str, OpenIReport]], tuple[str, ...]]:
    raw = read_table(path)
    check_columns(raw, ("uid", "MeSH", *OPENI_SECTIONS), str(path))
    # A spreadsheet took fields such as "+PPD ..." for formulas: three of the published table are lost.
    lost = int((raw[list(OPENI_SECTIONS)] == LOST).to_numpy().sum())
    found = []
    for row, values in enumerate(raw.replace(LOST, "").fillna("").to_dict("records")):
        origin, study = f"{path}, row {row + 1}", f"CXR{values['uid'].strip()}"
        if not STUDY.fullmatch(study):
            raise DataError(f"{origin}: uid is {values['uid']!r}, expected a number")
        sections = {name: values[name].strip() for name in OPENI_SECTIONS}
        terms = tuple(" ".join(term.split()) for term in values["MeSH"].split(";") if term.strip())
        found.append((origin, OpenIReport(study, sections, terms, ())))
    note = f"{path.name}: {lost} fields hold {LOST} instead of text and are empty; the XML reports have them"
    return found, (note,) if lost else ()


def read_views(path: Path) -> dict[str, str]:
    """Read Kaggle's `indiana_projections.csv`: an image's common name -> "Frontal" or "L" (lateral), in file order."""
    raw = read_table(path)
    check_columns(raw, ("uid", "filename", "projection"), str(path))
    names = [common_name(str(name).strip().removesuffix(".png").removesuffix(".dcm")) for name in raw["filename"]]
    views = recode(raw["projection"], VIEWS, str(path)).fillna("")
    wrong = [row for row, name in enumerate(names) if name is None or name.partition("_")[0] != str(raw["uid"][row])]
    twice = np.flatnonzero(pd.Series(names, dtype=object).duplicated().to_numpy()).tolist()
    for rows, fault in (
        (wrong, "does not begin with its uid as in 1_IM-0001-3001.dcm.png"),
        (twice, "is listed twice"),
    ):
        if rows:
            raise DataError(f"{path}, row {rows[0] + 1}: filename {raw['filename'].iloc[rows[0]]!r} {fault}")
    return {str(name): view for name, view in zip(names, views, strict=True)}


def match_files(reports: Sequence[OpenIReport], keys: Sequence[str], origin: str) -> tuple[dict[str, str], int]:
    """Find each image's file by its name in any of the copies: (common name -> key, number of files without a report).

    Numbered files are the report's images in the order of the XML. Raises DataError if two files are one image.
    """
    images = {report.study: report.images for report in reports}
    known = {name for names in images.values() for name in names}
    found: dict[str, str] = {}
    strange = 0
    for key in keys:
        parts = key.rpartition(".")[0].removesuffix(".dcm").split("/")
        name = common_name(parts[-1])
        if name not in known:
            numbered = NUMBERED.fullmatch(parts[-1]) or NUMBERED.fullmatch("/".join(parts[-2:]))
            of_study = images.get(f"CXR{int(numbered['study'])}", ()) if numbered else ()
            number = int(numbered["number"]) if numbered else 0
            name = of_study[number] if number < len(of_study) else None
        if name is None:
            strange += 1
        elif name in found:
            raise DataError(f"{origin}: {found[name]} and {key} are the same image; remove one copy, or name the folder "
                            "that counts in data.source.image_dirs")  # fmt: skip
        else:
            found[name] = key
    return found, strange

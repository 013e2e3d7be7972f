"""Reports in Open-i's format, made up for tests: XML files, their archive, Kaggle's tables, gold labels, pictures."""

import io
import tarfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from PIL import Image

# Study number -> (findings, impression, indexers' terms, image names as NLM writes them).
REPORTS = {
    3: ("Heart is mildly enlarged. No effusion.", "Mild cardiomegaly.", ["Cardiomegaly/mild"], ["CXR3_IM-0001-1001"]),
    1: (
        "Lungs are clear & dry.", "Nothing acute.", ["normal"],
        ["CXR1_1_IM-0002-1001", "CXR1_1_IM-0002-2001"],
    ),
    20: ("", "A nodule, size < 1 cm, in the left apex.", ["Nodule/lung/apex/left"], ["CXR20_IM-0003-1001"]),
    7: ("", "", ["No Indexing"], []),
}  # fmt: skip
STUDIES = ["CXR1", "CXR3", "CXR7", "CXR20"]
VIEWS = {"1_IM-0002-1001": "Frontal", "1_IM-0002-2001": "Lateral", "3_IM-0001-1001": "Frontal"}


def xml(number: int, head: str = '<?xml version="1.0" encoding="utf-8"?>', **changed) -> str:
    """One report; `changed` replaces findings, impression, terms, images, study, or adds `extra` elements."""
    findings, impression, terms, images = REPORTS.get(number, REPORTS[7])
    parts = {"findings": escape(findings), "impression": escape(impression), "terms": terms, "images": images,
             "study": f"CXR{number}", "extra": ""} | changed  # fmt: skip
    sections = {
        "COMPARISON": "",
        "INDICATION": "Cough.",
        "FINDINGS": parts["findings"],
        "IMPRESSION": parts["impression"],
    }
    return (
        f"{head}\n<eCitation>\n<uId id={quoteattr(parts['study'])}/>\n<MedlineCitation><Article><Abstract>\n"
        + "\n".join(f"<AbstractText Label={quoteattr(name)}>{text}</AbstractText>" for name, text in sections.items())
        + f"\n</Abstract></Article></MedlineCitation>\n{parts['extra']}<MeSH>"
        + "".join(f"<major>{escape(term)}</major>" for term in parts["terms"])
        + "</MeSH>\n"
        + "\n".join(
            f"<parentImage id={quoteattr(name)}><figureId>F1</figureId></parentImage>" for name in parts["images"]
        )
        + "\n</eCitation>\n"
    )


def write_archive(path: Path, members: dict[str, bytes] | None = None, mode: str = "w:gz") -> Path:
    """A .tgz with one XML member per report, or with other members."""
    if members is None:
        members = {f"ecgen-radiology/{number}.xml": xml(number).encode() for number in REPORTS}
    with tarfile.open(path, mode) as archive:
        for name, raw in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def write_tables(root: Path) -> None:
    """Kaggle's two tables and the gold labels."""
    lines = ["uid,MeSH,Problems,image,indication,comparison,findings,impression"]
    for number, (findings, impression, terms, images) in REPORTS.items():
        if images:
            lines.append(f'{number},{";".join(terms)},,Chest,#NAME?,,"{findings}","{impression}"')
    (root / "indiana_reports.csv").write_text("\n".join(lines) + "\n")
    rows = [f"{name.partition('_')[0]},{name}.dcm.png,{view}" for name, view in VIEWS.items()]
    (root / "indiana_projections.csv").write_text("\n".join(["uid,filename,projection", *rows]) + "\n")
    (root / "labels_14.csv").write_text("filename,Cardiomegaly,Hernia,normal\nCXR3,1,0,0\nCXR1,0,0,1\n")


def write_pictures(root: Path, names: list[str]) -> None:
    """Small grey PNG files below `root`."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 10 * number, dtype=np.uint8)).save(path)

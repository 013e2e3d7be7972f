"""Who says what an Open-i report states? Annotators (gold), the rule labeler (rules), or the collection's indexers (mesh)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.data.checks import check_columns, listing
from cxrvl.data.labels import CHESTXRAY14, NO_FINDING
from cxrvl.data.sources.openi_files import OpenIReport
from cxrvl.data.sources.tables import read_table
from cxrvl.errors import DataError

UNINDEXED = ("No Indexing", "Technical Quality of Image Unsatisfactory")
"""Indexers' terms that are no finding; a report with no other term states nothing."""

LABEL_MAPS: Mapping[str, Mapping[str, str | None]] = {
    # The table's Hernia is 0 throughout, whatever a report says of a hiatal hernia: it is no negative.
    "gold": {**{name: name for name in CHESTXRAY14}, "Hernia": None, "normal": NO_FINDING},
    "rules": {
        "Atelectasis": "Atelectasis", "Cardiomegaly": "Cardiomegaly", "Effusion": "Effusion",
        "Infiltration": "Infiltration", "Mass": "Mass", "Nodule": "Nodule", "Pneumonia": "Pneumonia",
        "Infection": "Pneumonia", "Pneumothorax": "Pneumothorax", "Consolidation": "Consolidation", "Edema": "Edema",
        "Vascular Congestion": "Edema", "Emphysema": "Emphysema", "Fibrosis": "Fibrosis",
        "Pleural Thickening": "Pleural_Thickening", "Hernia": "Hernia",
        "Enlarged Cardiomediastinum": "Enlarged Cardiomediastinum", "Lung Opacity": "Lung Opacity",
        "Lung Lesion": "Lung Lesion", "Pleural Other": "Pleural Other", "Fracture": "Fracture",
        "Support Devices": "Support Devices", "Other Abnormality": None, "No Finding": NO_FINDING,
    },
    "mesh": {
        "Pulmonary Atelectasis": "Atelectasis", "Cardiomegaly": "Cardiomegaly",
        "Cardiac Shadow/enlarged": "Cardiomegaly", "Pleural Effusion": "Effusion", "Infiltrate": "Infiltration",
        "Mass": "Mass", "Nodule": "Nodule", "Pneumonia": "Pneumonia", "Pneumothorax": "Pneumothorax",
        "Hydropneumothorax": "Pneumothorax", "Consolidation": "Consolidation", "Pulmonary Edema": "Edema",
        "Emphysema": "Emphysema", "Pulmonary Emphysema": "Emphysema", "Bullous Emphysema": "Emphysema",
        "Pulmonary Fibrosis": "Fibrosis", "Thickening/pleura": "Pleural_Thickening", "Hernia, Hiatal": "Hernia",
        "Hernia, Diaphragmatic": "Hernia", "Opacity/lung": "Lung Opacity", "Airspace Disease": "Lung Opacity",
        "Fractures, Bone": "Fracture", "Catheters, Indwelling": "Support Devices",
        "Implanted Medical Device": "Support Devices", "Medical Device": "Support Devices",
        "Tube, Inserted": "Support Devices", "Tuberculosis": "Tuberculosis", "normal": NO_FINDING,
    },
}  # fmt: skip
"""By policy: written name -> name in the joint vocabulary; None = left out on purpose."""


def gold_labels(path: Path, reports: Sequence[OpenIReport], subset: bool) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read NegBio's gold labels (Peng et al., AMIA 2018; 2,310 reports): the table's label columns and notes.

    The frame holds the report's name in `study`; values are checked where they are mapped. Raises DataError for a report
    that is listed twice, or that is not among `reports` (with `subset`: if none is).
    """
    raw = read_table(path)
    check_columns(raw, ("filename",), str(path))
    studies = raw["filename"].fillna("").str.strip()
    twice = np.flatnonzero(studies.duplicated().to_numpy())
    if twice.size:
        raise DataError(f"{path}, row {int(twice[0]) + 1}: report {studies.iloc[int(twice[0])]!r} is listed twice")
    known = studies.isin([report.study for report in reports])
    if not known.any() or not (known.all() or subset):
        row = int(np.flatnonzero(~known.to_numpy())[0])
        raise DataError(
            f"{path}, row {row + 1}: report {studies.iloc[row]!r} is not among the {len(reports)} reports read "
            f"({int((~known).sum())} of {len(raw)} are not); fetch all reports, or use those that are there with "
            "data.source.subset=true"
        )
    notes = [f"{path.name}: labels for {int(known.sum())} of {len(reports)} reports, nothing stated for the others"]
    if not known.all():
        notes.append(f"subset: {int((~known).sum())} reports of {path.name} are not there")
    return raw.drop(columns="filename").assign(study=studies), tuple(notes)


def rule_labels(reports: Sequence[OpenIReport]) -> pd.DataFrame:
    """Label findings and impression by rules: (N, names of the map "rules") float32; NaN for a report without either."""
    from cxrvl.data.labeler import Labeler
    from cxrvl.data.labeler.vocabulary import FINDINGS, to_chexpert
    from cxrvl.data.reports.cleaning import clean
    from cxrvl.data.reports.policy import compose

    labeler = Labeler("findings")
    rows = []
    for report in reports:
        text = clean(compose(report.sections, "both").text)
        found = labeler.label(text)
        rows.append({**found, NO_FINDING: to_chexpert(found)[NO_FINDING]} if text else {})
    return pd.DataFrame(rows, columns=[*FINDINGS, NO_FINDING], dtype=np.float32)


def term_labels(
    reports: Sequence[OpenIReport], terms: Sequence[str], origin: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Label by the indexers' terms: (N, terms) float32, 1 where a report has the term, 0 where it has others only; notes.

    NegBio's gold labels are of the same origin: the two agree on the reports that both cover.
    terms: a heading ("Nodule"), or one with a qualifier ("Thickening/pleura") that may stand anywhere behind it.
    Raises DataError if no report has any of them.
    """
    index = {term: i for i, term in enumerate(terms)}
    values = np.full((len(reports), len(terms)), np.nan, dtype=np.float32)
    for row, report in enumerate(reports):
        written = [[part.strip() for part in term.split("/")] for term in report.terms if term]
        if all(heading in UNINDEXED for heading, *_ in written):
            continue
        stated = {"/".join((heading, *one)) for heading, *more in written for one in [(), *((m,) for m in more)]}
        values[row] = 0
        values[row, [index[term] for term in stated if term in index]] = 1
    used = (values == 1).any(axis=0)
    absent = [term for term, there in zip(terms, used, strict=True) if not there]
    if not used.any():
        raise DataError(
            f"{origin}: no report has one of the indexers' terms {listing(absent)}; correct label_map.mesh, or take the "
            "labels from elsewhere (data.source.labels_from)"
        )
    notes = [f"labels by the indexers' terms; {int(np.isnan(values[:, 0]).sum())} reports are not indexed"]
    if absent:
        notes.append(f"no report has the terms {listing(absent, 40)}")
    return pd.DataFrame(values, columns=list(terms)), tuple(notes)

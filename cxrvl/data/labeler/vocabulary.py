"""Which findings does the labeler know, and how do they map onto the published vocabularies?"""

import math
from collections.abc import Mapping, Sequence

OBSERVATIONS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""The 14 observations of CheXpert (Irvin et al. 2019), in the order of its CSV files."""

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Enlarged Cardiomediastinum", "Consolidation", "Edema", "Vascular Congestion", "Effusion",
    "Emphysema", "Fibrosis", "Fracture", "Hernia", "Infiltration", "Lung Opacity", "Mass", "Nodule", "Lung Lesion",
    "Pleural Thickening", "Pleural Other", "Pneumonia", "Infection", "Pneumothorax", "Support Devices",
    "Other Abnormality",
)  # fmt: skip
"""What the rules tell apart; finer than either vocabulary."""

_CHESTXRAY14 = {"Pleural_Thickening": "Pleural Thickening"}
_CHEXPERT = {
    "Pleural Effusion": ("Effusion",), "Edema": ("Edema", "Vascular Congestion"), "Pneumonia": ("Pneumonia", "Infection"),
}  # fmt: skip
_ORDER = (1.0, -1.0, 0.0)
_PARTS = tuple((name, _CHEXPERT.get(name, (name,))) for name in OBSERVATIONS)
_ABNORMAL = frozenset(FINDINGS) - {"Support Devices"}


def to_chexpert(found: Mapping[str, float]) -> dict[str, float]:
    """Map values by finding to the 14 CheXpert observations.

    `No Finding` is 1 where nothing but support devices is present or uncertain, and else not stated, as in CheXpert.
    """
    values = {
        name: found.get(parts[0], math.nan) if len(parts) == 1 else _strongest([found[p] for p in parts if p in found])
        for name, parts in _PARTS
    }
    values["No Finding"] = math.nan if any(value and name in _ABNORMAL for name, value in found.items()) else 1.0
    return values


def _strongest(values: Sequence[float]) -> float:
    """Present before uncertain before absent; NaN for none."""
    return next((value for value in _ORDER if value in values), math.nan)


def to_chestxray14(found: Mapping[str, float]) -> dict[str, float]:
    """Map values by finding to the 14 labels of ChestX-ray14 (Wang et al. 2017), in CheXNet's order."""
    from cxrvl.data.labels import CHESTXRAY14

    return {name: found.get(_CHESTXRAY14.get(name, name), math.nan) for name in CHESTXRAY14}

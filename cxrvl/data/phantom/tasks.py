"""Which diagnosis does a phantom cohort ask for, and which other findings does it meet beside it?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Drawn as patterns of their own (`cxrvl.data.phantom.diseases`); the six findings of the cohort are single lesions.
DISEASES = ("Tuberculosis", "COVID-19")


@dataclass(frozen=True)
class Task:
    """What a cohort is for.

    `label`: the one label asked for, "" = all findings; `prevalence`: default share of images per finding, where it
    differs from that of a cohort of findings.
    """

    label: str = ""
    prevalence: Mapping[str, float] = field(default_factory=dict)

    @property
    def disease(self) -> str:
        """The disease that is drawn beside the findings, "" for none."""
        return self.label if self.label in DISEASES else ""


# Other findings become rarer, so that the disease decides; those left are what it can be mistaken for.
_BESIDE = {
    "Atelectasis": 0.1,
    "Cardiomegaly": 0.12,
    "Consolidation": 0.1,
    "Effusion": 0.12,
    "Nodule": 0.1,
    "Pneumothorax": 0.04,
}
TASKS: Mapping[str, Task] = {
    "findings": Task(),
    "tuberculosis": Task("Tuberculosis", {**_BESIDE, "Tuberculosis": 0.35}),
    "covid": Task("COVID-19", {**_BESIDE, "COVID-19": 0.35}),
    "pneumothorax": Task("Pneumothorax", {**_BESIDE, "Pneumothorax": 0.3}),
}

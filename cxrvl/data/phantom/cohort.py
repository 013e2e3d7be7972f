"""Who is in the phantom cohort, in which hospital, with which findings at which visit?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cxrvl.data.phantom.draws import BoolArray, Draws, FloatArray, IntArray
from cxrvl.errors import ConfigError

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Effusion", "Nodule", "Pneumothorax")
# One-sided by nature: the other lung shows how this lung should look.
ASYMMETRY_FINDINGS = ("Atelectasis", "Consolidation", "Effusion", "Pneumothorax")
RIGHT, LEFT, NO_SIDE = 0, 1, -1
SIDE_NAMES = {RIGHT: "right", LEFT: "left", NO_SIDE: ""}
HOSPITALS = ("A", "B")
HOSPITAL_PLANS = ("mixed", "shift", "A", "B")

# Eight consecutive images belong to four patients; a row says which of the four each image belongs to.
_BLOCK, _PATIENTS = 8, 4
_PATTERNS = np.array(
    [
        [0, 1, 2, 2, 3, 3, 3, 3],
        [0, 1, 1, 2, 2, 3, 3, 3],
        [0, 1, 2, 2, 2, 3, 3, 3],
        [0, 0, 1, 1, 2, 2, 3, 3],
        [0, 0, 0, 0, 1, 2, 2, 3],
        [0, 0, 0, 1, 2, 2, 3, 3],
        [0, 0, 1, 2, 2, 2, 2, 3],
        [0, 0, 0, 1, 1, 1, 2, 3],
    ]
)
_VISITS = np.array([[list(row[:at]).count(patient) for at, patient in enumerate(row)] for row in _PATTERNS])

# An affected patient shows the finding at four of five visits: follow-ups before onset or after recovery.
_SHOWN = 0.8
_DEFAULT_PREVALENCE = {
    "Atelectasis": 0.22,
    "Cardiomegaly": 0.22,
    "Consolidation": 0.22,
    "Effusion": 0.25,
    "Nodule": 0.2,
    "Pneumothorax": 0.2,
}
# (finding, partner, how often it follows the partner's fate). Following means: the same uniform number decides both,
# which raises co-occurrence and leaves each prevalence exactly as asked for.
_FOLLOWS = (
    ("Effusion", "Cardiomegaly", 0.25),
    ("Atelectasis", "Effusion", 0.3),
    ("Consolidation", "Effusion", 0.15),
    ("Pneumothorax", "Atelectasis", 0.1),
)


@dataclass(frozen=True)
class CohortOptions:
    """What a cohort is like, apart from its seed and size.

    Args:
        prevalence: share of images with a finding, per finding; unnamed ones keep the default. In [0, 0.6].
        severity: lowest and highest severity in (0, 1]; 0.05 is barely visible.
        hospitals: "mixed" (each patient in A or B by chance), "shift" (test patients in B, others in A), "A" or "B".
        split: share of patients per split name, summing to 1.

    Raises:
        ConfigError: a name, share or range that cannot be right.
    """

    prevalence: Mapping[str, float]
    severity: tuple[float, float]
    hospitals: str
    split: Mapping[str, float]

    @classmethod
    def checked(
        cls,
        prevalence: float | Mapping[str, float] | None = None,
        severity: tuple[float, float] = (0.1, 1.0),
        hospitals: str = "mixed",
        split: Mapping[str, float] | None = None,
    ) -> "CohortOptions":
        """Fill in the defaults and refuse what cannot be drawn."""
        if prevalence is None:
            asked: Mapping[str, float] = {}
        elif isinstance(prevalence, Mapping):
            asked = prevalence
        else:
            asked = dict.fromkeys(FINDINGS, float(prevalence))
        if unknown := sorted(set(asked) - set(FINDINGS)):
            raise ConfigError(f"phantom prevalence names {unknown}; it knows only {list(FINDINGS)}.")
        shares = {finding: float(asked.get(finding, _DEFAULT_PREVALENCE[finding])) for finding in FINDINGS}
        for finding, share in shares.items():
            if not 0 <= share <= 0.6:
                raise ConfigError(f"phantom prevalence of {finding} is {share}; give a share between 0 and 0.6.")
        low, high = severity
        if not 0 < low <= high <= 1:
            raise ConfigError(f"phantom severity range is ({low}, {high}); give 0 < low <= high <= 1.")
        if hospitals not in HOSPITAL_PLANS:
            raise ConfigError(f"phantom hospitals is {hospitals!r}; choose one of {list(HOSPITAL_PLANS)}.")
        parts = dict(split) if split is not None else {"train": 0.6, "val": 0.15, "test": 0.25}
        if unknown := sorted(set(parts) - {"train", "val", "test"}):
            raise ConfigError(f"phantom split names {unknown}; use train, val and test.")
        if any(share < 0 for share in parts.values()) or abs(sum(parts.values()) - 1) > 1e-6:
            raise ConfigError(f"phantom split shares are {parts}; give non-negative shares that sum to 1.")
        return cls(shares, (float(low), float(high)), hospitals, parts)


@dataclass(frozen=True)
class Cohort:
    """Images of a cohort, field by field; N images, F = len(FINDINGS).

    `index`, `patient`, `visit` (N,) int64; `split` (N,) str; `hospital` (N,) int64 into HOSPITALS; `female` (N,) bool;
    `age` (N,) years; `present` (N, F) bool; `side` (N, F) int64 (RIGHT, LEFT or NO_SIDE); `severity` (N, F) in [0, 1],
    0 where absent. `side` is set for absent findings as well, so that a finding keeps its side between visits.
    """

    seed: int
    index: IntArray
    patient: IntArray
    visit: IntArray
    split: np.ndarray
    hospital: IntArray
    female: BoolArray
    age: FloatArray
    present: BoolArray
    side: IntArray
    severity: FloatArray

    @classmethod
    def draw(cls, seed: int, index: IntArray, options: CohortOptions) -> "Cohort":
        """Draw the images with the given numbers (any order, any subset): a pure function of seed and number."""
        index = np.asarray(index, dtype=np.int64)
        block, place = index // _BLOCK, index % _BLOCK
        pattern = (Draws(seed, block).word("pattern") % np.uint64(len(_PATTERNS))).astype(np.int64)
        patient, visit = block * _PATIENTS + _PATTERNS[pattern, place], _VISITS[pattern, place]
        people = Draws(seed, patient)
        split = _split(seed, patient, options.split)
        hospital = {
            "mixed": people.chance("hospital", 0.5).astype(np.int64),
            "shift": (split == "test").astype(np.int64),
            "A": np.zeros_like(index),
            "B": np.ones_like(index),
        }[options.hospitals]
        affected, side = _affected(people, options.prevalence)
        images = Draws(seed, index)
        low, high = options.severity
        present, severity = np.zeros_like(affected), np.zeros(affected.shape)
        for column, finding in enumerate(FINDINGS):
            present[:, column] = affected[:, column] & images.chance(f"{finding}/shown", _SHOWN)
            trend = people.between(f"{finding}/trend", -0.3, 0.3) * visit
            level = people.uniform(f"{finding}/severity") + trend + images.between(f"{finding}/jitter", -0.1, 0.1)
            course = low + (high - low) * np.clip(level, 0.0, 1.0)
            severity[:, column] = np.where(present[:, column], course, 0.0)
        return cls(
            seed=seed,
            index=index,
            patient=patient,
            visit=visit,
            split=split,
            hospital=hospital,
            female=people.chance("female", 0.5),
            age=np.floor(people.bell("age", 55, 35)) + visit,
            present=present,
            side=side,
            severity=severity,
        )

    def __len__(self) -> int:
        """Count the images."""
        return len(self.index)

    def with_only(self, finding: str | None, *, side: int = RIGHT, severity: float = 1.0) -> "Cohort":
        """Give every image the one finding named (None: no finding at all) and leave everything else as it was.

        Pairs drawn this way differ in nothing but the finding.
        """
        present, sides, grades = np.zeros_like(self.present), self.side.copy(), np.zeros_like(self.severity)
        if finding is not None:
            column = FINDINGS.index(finding)
            present[:, column], grades[:, column] = True, severity
            sides[:, column] = NO_SIDE if finding == "Cardiomegaly" else side
        return replace(self, present=present, side=sides, severity=grades)


def _split(seed: int, patient: IntArray, shares: Mapping[str, float]) -> np.ndarray:
    # A Weyl sequence over patient numbers meets the shares within a patient or two in a cohort of any size.
    offset = Draws(seed, np.zeros(1, dtype=np.int64)).word("split")
    words = patient.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + offset
    place = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    names = [name for name in ("train", "val", "test") if shares.get(name, 0) > 0]
    ends = np.cumsum([shares[name] for name in names])[:-1]
    return np.array(names, dtype=object)[np.searchsorted(ends, place, side="right")]


def _affected(people: Draws, prevalence: Mapping[str, float]) -> tuple[BoolArray, IntArray]:
    fate = {finding: people.uniform(f"{finding}/fate") for finding in FINDINGS}
    side = {finding: people.chance(f"{finding}/side", 0.5).astype(np.int64) for finding in FINDINGS}
    for finding, partner, share in _FOLLOWS:
        follows = people.chance(f"{finding}/follows", share)
        fate[finding] = np.where(follows, fate[partner], fate[finding])
        if partner != "Cardiomegaly":
            side[finding] = np.where(follows, side[partner], side[finding])
    side["Cardiomegaly"] = np.full_like(side["Cardiomegaly"], NO_SIDE)
    affected = np.stack([fate[finding] < prevalence[finding] / _SHOWN for finding in FINDINGS], axis=1)
    return affected, np.stack([side[finding] for finding in FINDINGS], axis=1)

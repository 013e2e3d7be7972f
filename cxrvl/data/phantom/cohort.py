"""Who is in the phantom cohort, in which hospital, with which findings at which visit?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cxrvl.data.phantom.course import follow
from cxrvl.data.phantom.draws import BoolArray, Draws, FloatArray, IntArray
from cxrvl.data.phantom.tasks import TASKS
from cxrvl.errors import ConfigError

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Effusion", "Nodule", "Pneumothorax")
# One-sided by nature: the other lung shows how this lung should look.
ASYMMETRY_FINDINGS = ("Atelectasis", "Consolidation", "Effusion", "Pneumothorax")
RIGHT, LEFT, BOTH, NO_SIDE = 0, 1, 2, -1
SIDE_NAMES = {RIGHT: "right", LEFT: "left", BOTH: "both", NO_SIDE: ""}
HOSPITALS = ("A", "B", "C")
HOSPITAL_PLANS = ("mixed", "shift", "arrival", "A", "B", "C")
SPLITS = ("train", "val", "test", "unlabelled")

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
_MOST_VISITS = 4
# Where in the block each patient's visits are: (pattern, patient, visit) -> place, -1 for none.
_PLACES = np.full((len(_PATTERNS), _PATIENTS, _MOST_VISITS), -1)
for _pattern, _row in enumerate(_PATTERNS):
    for _place, _patient in enumerate(_row):
        _PLACES[_pattern, _patient, _VISITS[_pattern, _place]] = _place

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
        hospitals: "mixed" (each patient in A or B by chance), "shift" (test patients in B, others in A), "arrival"
            (unlabelled and test patients in C, others in A), or "A", "B", "C" for all.
        split: share of patients per split name (train, val, test, unlabelled), summing to 1.
        task: a name of `cxrvl.data.phantom.tasks.TASKS`; a disease is drawn beside the findings.
        follow_ups: chance of each finding to change clearly (better, worse, new or resolved) from one visit of a
            patient to the next, in [0, 1]; None: the loose course of the cohorts without this option.

    Raises:
        ConfigError: a name, share or range that cannot be right.
    """

    prevalence: Mapping[str, float]
    severity: tuple[float, float]
    hospitals: str
    split: Mapping[str, float]
    task: str = "findings"
    follow_ups: float | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """All that may be drawn: the findings and the task's disease."""
        disease = TASKS[self.task].disease
        return (*FINDINGS, disease) if disease else FINDINGS

    @classmethod
    def checked(
        cls,
        prevalence: float | Mapping[str, float] | None = None,
        severity: tuple[float, float] = (0.1, 1.0),
        hospitals: str = "mixed",
        split: Mapping[str, float] | None = None,
        task: str = "findings",
        follow_ups: float | None = None,
    ) -> "CohortOptions":
        """Fill in the defaults and refuse what cannot be drawn."""
        if task not in TASKS:
            raise ConfigError(f"phantom task is {task!r}; choose one of {list(TASKS)}.")
        number = isinstance(follow_ups, int | float) and not isinstance(follow_ups, bool)
        if follow_ups is not None and not (number and 0 <= follow_ups <= 1):
            raise ConfigError(f"phantom follow_ups is {follow_ups!r}; give a share between 0 and 1, or null.")
        disease = TASKS[task].disease
        findings = (*FINDINGS, disease) if disease else FINDINGS
        if prevalence is None:
            asked: Mapping[str, float] = {}
        elif isinstance(prevalence, Mapping):
            asked = prevalence
        else:
            asked = dict.fromkeys(findings, float(prevalence))
        if unknown := sorted(set(asked) - set(findings)):
            raise ConfigError(f"phantom prevalence names {unknown}; it knows only {list(findings)}.")
        usual = {**_DEFAULT_PREVALENCE, **TASKS[task].prevalence}
        shares = {finding: float(asked.get(finding, usual[finding])) for finding in findings}
        for finding, share in shares.items():
            if not 0 <= share <= 0.6:
                raise ConfigError(f"phantom prevalence of {finding} is {share}; give a share between 0 and 0.6.")
        low, high = severity
        if not 0 < low <= high <= 1:
            raise ConfigError(f"phantom severity range is ({low}, {high}); give 0 < low <= high <= 1.")
        if hospitals not in HOSPITAL_PLANS:
            raise ConfigError(f"phantom hospitals is {hospitals!r}; choose one of {list(HOSPITAL_PLANS)}.")
        parts = dict(split) if split is not None else {"train": 0.6, "val": 0.15, "test": 0.25}
        if unknown := sorted(set(parts) - set(SPLITS)):
            raise ConfigError(f"phantom split names {unknown}; use {', '.join(SPLITS)}.")
        if any(share < 0 for share in parts.values()) or abs(sum(parts.values()) - 1) > 1e-6:
            raise ConfigError(f"phantom split shares are {parts}; give non-negative shares that sum to 1.")
        course = None if follow_ups is None else float(follow_ups)
        return cls(shares, (float(low), float(high)), hospitals, parts, task, course)


@dataclass(frozen=True)
class Cohort:
    """Images of a cohort, field by field; N images, F = len(findings).

    `index`, `patient`, `visit` (N,) int64; `split` (N,) str; `hospital` (N,) int64 into HOSPITALS; `female` (N,) bool;
    `age` (N,) years; `present` (N, F) bool; `side` (N, F) int64 (RIGHT, LEFT, BOTH or NO_SIDE); `severity` (N, F) in
    [0, 1], 0 where absent. `side` is set for absent findings as well, so that a finding keeps its side between visits.
    `days` (N,) int64 since the patient's first visit. `findings`: names of the columns, FINDINGS and then the task's
    disease if it has one.
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
    days: IntArray
    findings: tuple[str, ...] = FINDINGS

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
            "arrival": np.where(np.isin(split, ("test", "unlabelled")), 2, 0),
            "A": np.zeros_like(index),
            "B": np.ones_like(index),
            "C": np.full_like(index, 2),
        }[options.hospitals]
        affected, side = _affected(people, options)
        series = _series(block, pattern, patient)
        days = _days(seed, series, visit, options)
        age = people.bell("age", 55, 35)
        if options.follow_ups is None:
            present, severity = _states(people, Draws(seed, index), visit, affected, options)
            age = np.floor(age) + visit
        else:
            first = _states(people, Draws(seed, series[0]), np.zeros_like(visit), affected, options)
            shares = [options.prevalence[finding] for finding in options.findings]
            present, severity = follow(
                seed, series, visit, options.findings, first, shares, options.severity, options.follow_ups
            )
            age = np.floor(age + days / 365.25)
        return cls(
            seed=seed,
            index=index,
            patient=patient,
            visit=visit,
            split=split,
            hospital=hospital,
            female=people.chance("female", 0.5),
            age=age,
            present=present,
            side=side,
            severity=severity,
            days=days,
            findings=options.findings,
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
            column = self.findings.index(finding)
            present[:, column], grades[:, column] = True, severity
            sides[:, column] = {"Cardiomegaly": NO_SIDE, "COVID-19": BOTH}.get(finding, side)
        return replace(self, present=present, side=sides, severity=grades)


def _split(seed: int, patient: IntArray, shares: Mapping[str, float]) -> np.ndarray:
    # A Weyl sequence over patient numbers meets the shares within a patient or two in a cohort of any size.
    offset = Draws(seed, np.zeros(1, dtype=np.int64)).word("split")
    words = patient.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + offset
    place = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    names = [name for name in SPLITS if shares.get(name, 0) > 0]
    ends = np.cumsum([shares[name] for name in names])[:-1]
    return np.array(names, dtype=object)[np.searchsorted(ends, place, side="right")]


def earlier(seed: int, index: IntArray) -> IntArray:
    """Name the image of each patient's visit before, (N,) int64; -1 where the image is of a first visit."""
    index = np.asarray(index, dtype=np.int64)
    block, place = index // _BLOCK, index % _BLOCK
    pattern = (Draws(seed, block).word("pattern") % np.uint64(len(_PATTERNS))).astype(np.int64)
    before = _PLACES[pattern, _PATTERNS[pattern, place], _VISITS[pattern, place] - 1]
    return np.where(_VISITS[pattern, place] > 0, block * _BLOCK + before, -1)


def _series(block: IntArray, pattern: IntArray, patient: IntArray) -> IntArray:
    """Name the images of all visits of each patient, (_MOST_VISITS, N); -1 beyond the last."""
    places = _PLACES[pattern, patient % _PATIENTS]
    return np.where(places >= 0, block[:, None] * _BLOCK + places, -1).T


def _days(seed: int, series: IntArray, visit: IntArray, options: CohortOptions) -> IntArray:
    """Draw the days since the first visit: about a year between visits, or, for follow-ups, often only days."""
    days = np.zeros_like(visit)
    for number in range(1, len(series)):
        share = Draws(seed, np.maximum(series[number], 0)).uniform("gap")
        gap = 300 + 130 * share if options.follow_ups is None else 1 + 400 * share * share * share
        days += np.where(visit >= number, gap.astype(np.int64), 0)
    return days


def _states(
    people: Draws, images: Draws, visit: IntArray, affected: BoolArray, options: CohortOptions
) -> tuple[BoolArray, FloatArray]:
    low, high = options.severity
    present, severity = np.zeros_like(affected), np.zeros(affected.shape)
    for column, finding in enumerate(options.findings):
        present[:, column] = affected[:, column] & images.chance(f"{finding}/shown", _SHOWN)
        trend = people.between(f"{finding}/trend", -0.3, 0.3) * visit
        level = people.uniform(f"{finding}/severity") + trend + images.between(f"{finding}/jitter", -0.1, 0.1)
        course = low + (high - low) * np.clip(level, 0.0, 1.0)
        severity[:, column] = np.where(present[:, column], course, 0.0)
    return present, severity


def _affected(people: Draws, options: CohortOptions) -> tuple[BoolArray, IntArray]:
    findings, prevalence = options.findings, options.prevalence
    fate = {finding: people.uniform(f"{finding}/fate") for finding in findings}
    side = {finding: people.chance(f"{finding}/side", 0.5).astype(np.int64) for finding in findings}
    for finding, partner, share in _FOLLOWS:
        follows = people.chance(f"{finding}/follows", share)
        fate[finding] = np.where(follows, fate[partner], fate[finding])
        if partner != "Cardiomegaly":
            side[finding] = np.where(follows, side[partner], side[finding])
    side["Cardiomegaly"] = np.full_like(side["Cardiomegaly"], NO_SIDE)
    if "Tuberculosis" in side:
        side["Tuberculosis"] = np.where(people.chance("Tuberculosis/both", 0.3), BOTH, side["Tuberculosis"])
    if "COVID-19" in side:
        side["COVID-19"] = np.full_like(side["COVID-19"], BOTH)
    affected = np.stack([fate[finding] < prevalence[finding] / _SHOWN for finding in findings], axis=1)
    return affected, np.stack([side[finding] for finding in findings], axis=1)

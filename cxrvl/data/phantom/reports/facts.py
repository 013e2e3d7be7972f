"""What is there to say about a drawn image? Findings with side, place, size, grade and change, and the devices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxrvl.data.phantom.anatomy import Anatomy
from cxrvl.data.phantom.cohort import BOTH, HOSPITALS, LEFT, RIGHT, SIDE_NAMES, Cohort, CohortOptions, earlier
from cxrvl.data.phantom.course import CHANGE
from cxrvl.data.phantom.draws import FloatArray
from cxrvl.data.phantom.findings import Patch
from cxrvl.data.phantom.geometry import FIELD_MM
from cxrvl.data.phantom.render import Phantom
from cxrvl.data.phantom.reports.tips import Device, devices

GRADES = ("mild", "moderate", "severe")
# Severities from which a finding is called moderate and severe.
GRADE_FROM = (0.35, 0.7)
NEW, WORSE, BETTER, UNCHANGED = "new", "worse", "better", "unchanged"
# From where on a reader sees a shift of the mediastinum (image widths), a bend of the spine, a rotated patient.
_SHIFT, _BEND, _ROTATION = 0.02, 0.15, 0.45


@dataclass(frozen=True, slots=True)
class Fact:
    """One finding of one image.

    `side` right, left, both or ""; `zone` upper, middle, lower or ""; `reach` central, peripheral or ""; `size_mm`
    diameter of a nodule, height of the air over the lung in a pneumothorax, else 0; `ratio` cardiothoracic ratio of an
    enlarged heart, else 0; `cavity` of tuberculosis; `change` since the visit before: new, worse, better, unchanged,
    "" at a first visit; `size_before` the size then.
    """

    finding: str
    side: str
    severity: float
    zone: str = ""
    reach: str = ""
    size_mm: int = 0
    ratio: float = 0.0
    cavity: bool = False
    change: str = ""
    size_before: int = 0

    @property
    def grade(self) -> str:
        """Mild, moderate or severe."""
        return GRADES[sum(self.severity >= bound for bound in GRADE_FROM)]


@dataclass(frozen=True, slots=True)
class Study:
    """What one image shows.

    `found` present; `gone` findings of the visit before that are no longer there, as they were; `devices`, and
    `removed` kinds of devices that the visit before had; `shift` side to which the mediastinum is displaced, `convex`
    side of a scoliosis, "" for none; `rotated` whether the patient stands askew; `days` since the visit before, 0 at the
    first; `hospital` one of HOSPITALS.
    """

    seed: int
    index: int
    hospital: str
    age: int
    sex: str
    days: int
    found: tuple[Fact, ...]
    gone: tuple[Fact, ...]
    devices: tuple[Device, ...]
    removed: tuple[str, ...]
    shift: str
    convex: str
    rotated: bool

    def has(self, *findings: str) -> bool:
        """Whether any of these is present."""
        return any(fact.finding in findings for fact in self.found)


def studies(phantom: Phantom, options: CohortOptions) -> list[Study]:
    """Say what each image of a cohort shows, in its order; `options` are those the cohort was drawn with."""
    cohort = phantom.cohort
    found = _facts(phantom)
    before = earlier(cohort.seed, cohort.index)
    rows = np.flatnonzero(before >= 0)
    past = Phantom(Cohort.draw(cohort.seed, before[rows], options))
    past_found = dict(zip(rows.tolist(), _facts(past), strict=True))
    past_devices = dict(zip(rows.tolist(), devices(past.devices, past.anatomy), strict=True))
    since = np.zeros(len(cohort), dtype=np.int64)
    since[rows] = cohort.days[rows] - past.cohort.days
    there = devices(phantom.devices, phantom.anatomy)
    shifts, bends = _sides(_shift(phantom.anatomy), _SHIFT), _sides(-phantom.anatomy.midline.bend, _BEND)
    askew = np.abs(phantom.anatomy.pose.rotation) > _ROTATION
    result = []
    for row, index in enumerate(cohort.index.tolist()):
        was, had = past_found.get(row), past_devices.get(row, ())
        result.append(
            Study(
                seed=cohort.seed,
                index=index,
                hospital=HOSPITALS[cohort.hospital[row]],
                age=int(cohort.age[row]),
                sex="female" if cohort.female[row] else "male",
                days=int(since[row]),
                found=found[row] if was is None else tuple(_compared(fact, was) for fact in found[row]),
                gone=() if was is None else tuple(f for f in was if not _named(f.finding, found[row])),
                devices=there[row] if was is None else tuple(d.since(had) for d in there[row]),
                removed=tuple(d.kind for d in had if all(d.kind != now.kind for now in there[row])),
                shift=shifts[row],
                convex=bends[row],
                rotated=bool(askew[row]),
            )
        )
    return result


def _compared(fact: Fact, before: Sequence[Fact]) -> Fact:
    was = _named(fact.finding, before)
    if was is None:
        change = NEW
    else:
        rise = fact.severity - was.severity
        change = WORSE if rise > CHANGE else BETTER if rise < -CHANGE else UNCHANGED
    return replace(fact, change=change, size_before=was.size_mm if was is not None else 0)


def _named(finding: str, facts: Sequence[Fact]) -> Fact | None:
    return next((fact for fact in facts if fact.finding == finding), None)


def _facts(phantom: Phantom) -> list[tuple[Fact, ...]]:
    cohort, anatomy = phantom.cohort, phantom.anatomy
    found: list[list[Fact]] = [[] for _ in range(len(cohort))]
    for column, finding in enumerate(cohort.findings):
        rows = np.flatnonzero(cohort.present[:, column])
        zone, reach = _place(phantom, finding, column)
        size = _size(phantom, finding)
        hollow = _hollow(phantom, column) if finding == "Tuberculosis" else np.zeros(len(cohort), dtype=bool)
        for row in rows.tolist():
            found[row].append(
                Fact(
                    finding,
                    SIDE_NAMES[int(cohort.side[row, column])],
                    float(cohort.severity[row, column]),
                    zone[row],
                    reach[row],
                    int(size[row]),
                    float(anatomy.cardiothoracic_ratio[row]) if finding == "Cardiomegaly" else 0.0,
                    bool(hollow[row]),
                )
            )
    return [tuple(facts) for facts in found]


def _place(phantom: Phantom, finding: str, column: int) -> tuple[list[str], list[str]]:
    """Thirds of the lung, from apex to diaphragm and from mediastinum to chest wall, where a patch has its centre."""
    count = len(phantom.cohort)
    if finding not in ("Consolidation", "Nodule"):
        return [""] * count, [""] * count
    shape = phantom.lesions.of(finding)
    assert isinstance(shape, Patch)
    lung = phantom.anatomy.lung(phantom.cohort.side[:, column], np.arange(count))
    r, y = np.asarray(shape.r)[:, None, None], np.asarray(shape.y)[:, None, None]
    down = ((y - lung.apex_y) / (lung.dome_y - lung.apex_y))[:, 0, 0]
    out = ((r - lung.inner(y)) / (lung.lateral(y) - lung.inner(y)))[:, 0, 0]
    zones = np.array(["upper", "middle", "lower"])[np.clip((down * 3).astype(int), 0, 2)]
    reaches = np.array(["central", "", "peripheral"])[np.clip((out * 3).astype(int), 0, 2)]
    return zones.tolist(), reaches.tolist()


def _size(phantom: Phantom, finding: str) -> FloatArray:
    if finding == "Nodule":
        return np.rint(2 * np.asarray(phantom.lesions.nodule.across) * FIELD_MM)
    if finding == "Pneumothorax":
        return np.maximum(np.rint(np.asarray(phantom.lesions.pneumothorax.gap) * FIELD_MM), 1)
    return np.zeros(len(phantom.cohort))


def _hollow(phantom: Phantom, column: int) -> np.ndarray:
    """Whether a cavity is seen in a lung that is affected."""
    hollow = np.zeros(len(phantom.cohort), dtype=bool)
    for side, group in zip((RIGHT, LEFT), phantom.disease or (), strict=True):
        there = np.isin(phantom.cohort.side[:, column], (side, BOTH))
        for patch in group.patches:
            hollow |= there & (np.asarray(patch.density) < 0)
    return hollow


def _shift(anatomy: Anatomy) -> FloatArray:
    # What rotation adds to the heart's place is no displacement.
    return np.asarray(anatomy.heart.shift - 0.015 * anatomy.pose.rotation)


def _sides(values: FloatArray, least: float) -> list[str]:
    """Name the side of values beyond `least`: the patient's left is the image's right."""
    names = np.where(values > least, "left", np.where(values < -least, "right", ""))
    return [str(name) for name in names]

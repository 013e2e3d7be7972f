"""Which patients form a fold, a share of labels, or the labelled part of self-training? Draws by patient, stratified.

All functions depend on patient names, labels and seed alone: the order of rows and how often a patient comes up in it
do not matter. A patient's stratum is its rarest positive finding, as in `cxrvl.data.splits.split_by_patient`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxrvl.data.splits import patient_draw
from cxrvl.errors import ConfigError

LABEL_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
DISTL_LABELLED = 0.1
DISTL_FOLDS = 3
LABELLED = -1


@dataclass(frozen=True)
class Patients:
    """P patients in an order fixed by seed and name.

    of_row: (N,) int64 patient of each row. positive: (P, L) bool, in any image. stratum: (P,) int64 place of the rarest
    positive label among the labels by ascending count, L = none positive. draw: (P,) float64 in [0, 1).
    names: (P,) object; patients are numbered by name, so that no tie depends on the order of rows.
    """

    of_row: np.ndarray
    names: np.ndarray
    positive: np.ndarray
    stratum: np.ndarray
    draw: np.ndarray

    @classmethod
    def of(cls, patients: Sequence[str], positives: np.ndarray, salt: str) -> "Patients":
        """Group N rows (patients: names; positives: (N, L) bool) and draw a number for each patient."""
        codes, names = pd.factorize(np.asarray(patients, dtype=object), sort=True)
        positive = np.zeros((len(names), positives.shape[1]), dtype=bool)
        np.logical_or.at(positive, codes, positives.astype(bool))
        rarest_first = np.argsort(positive.sum(axis=0), kind="stable")
        ordered = positive[:, rarest_first]
        stratum = np.where(ordered.any(axis=1), ordered.argmax(axis=1), positives.shape[1])
        return cls(codes.astype(np.int64), names, positive, stratum, patient_draw(names.tolist(), salt))

    def __len__(self) -> int:
        return len(self.names)

    def core(self) -> np.ndarray:
        """(P,) bool: first drawn patients that together hold every label that anybody has, and one without a finding."""
        chosen = np.zeros(len(self), dtype=bool)
        by_draw = np.argsort(self.draw, kind="stable")
        for label in np.argsort(self.positive.sum(axis=0), kind="stable"):
            having = by_draw[self.positive[by_draw, label]]
            if having.size and not chosen[having].any():
                chosen[having[0]] = True
        without = by_draw[~self.positive[by_draw].any(axis=1)]
        chosen[without[:1]] = True
        return chosen

    def nested_order(self) -> np.ndarray:
        """(P,) int64 patients in the order in which they get labels: any first part is stratified, the core leads."""
        core = self.core()
        share = np.zeros(len(self))
        for stratum in np.unique(self.stratum):
            members = np.flatnonzero(self.stratum == stratum)
            order = members[np.lexsort((self.draw[members], ~core[members]))]
            share[order] = (np.arange(members.size) + 0.5) / members.size
        return np.lexsort((self.draw, share, ~core))


def kfold(patients: Sequence[str], positives: np.ndarray, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Deal patients to folds, stratum after stratum, so that folds and strata differ by one patient at most.

    patients: N names; positives: (N, L) bool. Returns the fold of each row, (N,) int64 in [0, folds).
    Raises ConfigError for fewer than two folds or fewer patients than folds.
    """
    people = Patients.of(patients, positives, f"cxrvl kfold {seed}")
    if folds < 2 or folds > len(people):
        raise ConfigError(
            f"{folds} folds of {len(people)} patients; expected at least 2 folds and a patient in each of them"
        )
    return _dealt(people.stratum, people.draw, folds)[people.of_row]


def _dealt(stratum: np.ndarray, draw: np.ndarray, folds: int) -> np.ndarray:
    dealt = np.empty(len(draw), dtype=np.int64)
    dealt[np.lexsort((draw, stratum))] = np.arange(len(draw)) % folds
    return dealt


def label_fractions(
    patients: Sequence[str], positives: np.ndarray, fractions: Sequence[float] = LABEL_FRACTIONS, seed: int = 0
) -> np.ndarray:
    """The smallest of some nested label fractions that each row's patient is in.

    patients: N names; positives: (N, L) bool. A fraction f holds round(f P) of the P patients, at least one, and never
    fewer than hold one positive patient of every label there is, with one patient without any finding: a small
    fraction of few patients is larger than asked, see `cxrvl.data.resplit`. Every fraction contains the smaller ones,
    whichever are asked for. Returns (N,) float64, 1.0 for patients in none.
    Raises ConfigError for a fraction outside (0, 1].
    """
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong or not len(fractions):
        found = ", ".join(f"{fraction:g}" for fraction in wrong) or "none"
        raise ConfigError(f"label fractions: found {found}; expected shares of the patients above 0, up to 1")
    people = Patients.of(patients, positives, f"cxrvl labels {seed}")
    order, least = people.nested_order(), int(people.core().sum())
    smallest = np.ones(len(people))
    for fraction in sorted(fractions, reverse=True):
        smallest[order[: max(round(fraction * len(people)), least, 1)]] = fraction
    return smallest[people.of_row]


def distl_folds(
    patients: Sequence[str],
    positives: np.ndarray,
    seed: int = 0,
    labelled: float = DISTL_LABELLED,
    folds: int = DISTL_FOLDS,
) -> np.ndarray:
    """The parts of DISTL (Park et al., Nature Communications 2022): a labelled share and equal unlabelled folds.

    With 10 % labelled and three folds the folds are 30 % each, and generation T trains on folds 0 to T - 1 together: 30,
    60, 90 %. The labelled patients are those of `label_fractions` for the same seed. Unlike the released splitter, which
    shuffles images, patients stay together and findings are stratified.
    patients: N names; positives: (N, L) bool. Returns (N,) int64: `LABELLED` (-1), or the unlabelled fold from 0.
    Raises ConfigError if a part would be empty.
    """
    if not 0 < labelled < 1:
        raise ConfigError(f"the labelled share is {labelled:g}; expected a number between 0 and 1")
    people = Patients.of(patients, positives, f"cxrvl labels {seed}")
    # Rows of one per patient: the same draw as for the rows given.
    chosen = label_fractions(people.names.tolist(), people.positive, [labelled], seed) == labelled
    rest = np.flatnonzero(~chosen)
    if folds < 1 or rest.size < folds:
        raise ConfigError(
            f"{folds} unlabelled folds of {rest.size} patients ({len(people)} less {int(chosen.sum())} labelled ones); "
            "expected at least one fold and a patient in each of them"
        )
    part = np.full(len(people), LABELLED, dtype=np.int64)
    again = patient_draw(people.names.tolist(), f"cxrvl distl {seed}")
    part[rest] = _dealt(people.stratum[rest], again[rest], folds)
    return part[people.of_row]


def without_positive(member: np.ndarray, positives: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Name the labels that have a positive row, but none among the member rows ((N,) bool of positives (N, L))."""
    lost = positives.any(axis=0) & ~positives[member].any(axis=0)
    return [label for label, gone in zip(labels, lost, strict=True) if gone]

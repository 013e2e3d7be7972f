"""What if some training labels are wrong, and the unlabelled images show what no labelled one does? A table spoilt on purpose."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.checks import listing
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.resplit import UNLABELLED_FOLD, rows_of
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

Table = TypeVar("Table", StudyTable, ReportTable)
Noise = float | Mapping[str, float]
_SIDES = {"positive": 1.0, "negative": 0.0}


def with_label_noise(table: Table, noise: Noise, seed: int, labels_of_folds: int = 0) -> Table:
    """Turn some of the training labels over; validation, test and unlabelled images keep theirs.

    Which ones is a draw from (seed, number of training images, of unlabelled ones and of labels) alone, and nested: what
    a small share turns over, a larger one does, too, and revealing labels changes none of the others. The table's notes
    say how many; its fingerprint holds the labels as they are then.

    Args:
        noise: share of the stated labels that become wrong, or {positive: share, negative: share} by what they were.
        seed: of the draw.
        labels_of_folds: so many unlabelled folds have their labels revealed, which are as often wrong as the others.

    Raises:
        ConfigError: a share outside [0, 1], or an unknown side.
    """
    shares = _shares(noise)
    rows, labels = rows_of(table, "train"), list(table.labels)
    values = table.frame[labels].to_numpy(dtype=np.float32).copy()
    drawn = np.random.default_rng([seed, 1]).random((len(rows), len(labels)))
    if labels_of_folds and UNLABELLED_FOLD in table.frame:
        pool = rows_of(table, "unlabelled")
        revealed = table.frame[UNLABELLED_FOLD].to_numpy()[pool] < labels_of_folds
        more = np.random.default_rng([seed, 3]).random((len(pool), len(labels)))
        rows, drawn = np.concatenate([rows, pool[revealed]]), np.concatenate([drawn, more[revealed]])
    given, counts = values[rows], {}
    turned = given.copy()
    for side, value in _SIDES.items():
        wrong = (given == value) & (drawn < shares[side])
        turned[wrong] = 1.0 - value
        counts[side] = int(wrong.sum()), int((given == value).sum())
    values[rows] = turned
    frame = table.frame.copy()
    frame[labels] = values
    said = " and ".join(f"{found} of {of} {side}" for side, (found, of) in counts.items())
    return replace(
        table, frame=frame, notes=(*table.notes, f"label noise: {said} training labels turned over (seed {seed})")
    )


def with_unseen(table: Table, unseen: Mapping[str, Any], seed: int) -> Table:
    """Take findings away from the labelled images, and make images with them a stated share of the unlabelled ones.

    Training images with such a finding are left out. The unlabelled part (each of its folds for itself) keeps as many
    images as it has without these findings, whatever the share: so many of them, drawn, give way to images with one, and
    tables of different shares compare pools of one size. Validation and test stay as they are.

    Args:
        unseen: {labels: [findings of the source], share: of the unlabelled images, in [0, 1)}.
        seed: of the draw.

    Raises:
        ConfigError: unknown keys or labels, a share outside [0, 1), or one that the unlabelled images cannot give.
        DataError: there is no unlabelled image.
    """
    labels, share = _unseen_options(unseen, table.labels)
    shows = (table.frame[labels] == 1).any(axis=1).to_numpy()
    pool, train = rows_of(table, "unlabelled"), rows_of(table, "train")
    if not pool.size:
        raise DataError(
            f"data.unseen is about unlabelled images, and {table.split_name!r} has none; set data.label_fraction"
        )
    fold = (
        table.frame[UNLABELLED_FOLD].to_numpy()
        if UNLABELLED_FOLD in table.frame
        else np.zeros(len(table), dtype=np.int64)
    )
    rng = np.random.default_rng([seed, 2])
    kept = [np.setdiff1d(np.arange(len(table)), np.concatenate([pool, train])), train[~shows[train]]]
    new = 0
    for number in np.unique(fold[pool]):
        part = pool[fold[pool] == number]
        plain, other = part[~shows[part]], part[shows[part]]
        count = round(share * len(plain))
        if count > len(other):
            raise ConfigError(
                f"data.unseen.share={share:g} needs {count} unlabelled images with {listing(labels, 10)}, and there are "
                f"{len(other)} beside {len(plain)} without; ask for at most {np.floor(100 * len(other) / len(plain)) / 100:g}"
            )
        kept += [rng.permutation(plain)[count:], rng.permutation(other)[:count]]
        new += count
    rows = np.sort(np.concatenate(kept))
    size = int(np.isin(rows, pool).sum())
    note = (
        f"unseen findings: {new} of {size} unlabelled images show {listing(labels, 10)}; {int(shows[train].sum())} training "
        f"images with them left out (seed {seed})"
    )
    return replace(table, frame=table.frame.iloc[rows].reset_index(drop=True), notes=(*table.notes, note))


def _shares(noise: Noise) -> dict[str, float]:
    given = dict(noise) if isinstance(noise, Mapping) else dict.fromkeys(_SIDES, noise)
    for side in given:
        if side not in _SIDES:
            raise ConfigError(f"data.label_noise: unknown side {side!r}{did_you_mean(str(side), _SIDES)}")
    shares = {side: float(given.get(side, 0.0)) for side in _SIDES}
    wrong = [share for share in shares.values() if not 0 <= share <= 1]
    if wrong:
        raise ConfigError(f"data.label_noise is {noise}; expected shares from 0 to 1")
    return shares


def _unseen_options(unseen: Mapping[str, Any], known: Sequence[str]) -> tuple[list[str], float]:
    if not isinstance(unseen, Mapping) or set(unseen) != {"labels", "share"}:
        raise ConfigError(f"data.unseen is {unseen!r}; expected {{labels: [...], share: 0.2}}")
    labels, share = unseen["labels"], float(unseen["share"])
    if isinstance(labels, str) or not labels or not 0 <= share < 1:
        raise ConfigError(
            f"data.unseen has labels {labels!r} and share {share:g}; expected a list, and a share in [0, 1)"
        )
    for label in labels:
        if label not in known:
            raise ConfigError(f"data.unseen.labels: {label!r} is no label of the data{did_you_mean(str(label), known)}")
    return list(labels), share

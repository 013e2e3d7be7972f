"""What does a config choose out of a published table: how doubt is written, which views, which files, which labels?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.checks import listing
from cxrvl.data.files import MISSING, file_sizes, unsafe_key
from cxrvl.data.labels import choose_labels
from cxrvl.errors import DataError

Uncertain = str | Mapping[str, str]
UNCERTAIN = {"keep": -1.0, "positive": 1.0, "negative": 0.0, "missing": np.nan}
"""Policy -> the value that replaces -1."""


def packed_name(root: Path, name: str) -> str:
    """The name of a table, or that of its gzipped form (.gz) where only this one is below the root."""
    gzipped = f"{name}.gz"
    return gzipped if not (root / name).is_file() and (root / gzipped).is_file() else name


def settle_uncertain(values: pd.DataFrame, policy: Uncertain, dataset: str) -> pd.DataFrame:
    """Write uncertain labels (-1) as a policy says: keep, positive (1), negative (0) or missing (not stated).

    values: N rows of float32, one column per label of the joint vocabulary. policy: one name for all labels, or
    label -> name; labels it does not mention stay uncertain.
    Raises DataError for an unknown policy, or a label the data set does not have, with the nearest name.
    """
    policies = dict.fromkeys(values.columns, policy) if isinstance(policy, str) else dict(policy)
    for label, name in policies.items():
        if name not in UNCERTAIN:
            raise DataError(
                f"{dataset}: uncertain is {name!r}{did_you_mean(str(name), list(UNCERTAIN))}; "
                f"expected one of {', '.join(UNCERTAIN)}, or label -> one of them"
            )
        if label not in values.columns:
            raise DataError(
                f"{dataset}: uncertain names the label {label!r}{did_you_mean(str(label), list(values.columns))}; "
                f"labels: {', '.join(values.columns)}"
            )
    settled = values.copy()
    for label, name in policies.items():
        settled[label] = values[label].mask(values[label] == -1, UNCERTAIN[name]).astype(np.float32)
    return settled


def pick_labels(values: pd.DataFrame, wanted: Sequence[str] | None, dataset: str) -> pd.DataFrame:
    """Keep the wanted labels, in that order; None keeps all. DataError names an unknown one and the nearest name."""
    if wanted is None:
        return values
    return values[list(choose_labels(wanted, list(values.columns), dataset))]


def keep_views(frame: pd.DataFrame, views: Sequence[str] | None, origin: str) -> pd.DataFrame:
    """Keep the rows whose column `view` is one of `views`; None keeps all. DataError for a view that no row has."""
    if views is None:
        return frame
    there = frame["view"].fillna("").astype(str)
    unknown = [view for view in views if not (there == view).any()]
    if unknown or isinstance(views, str):
        counts = ", ".join(f"{name or 'unknown'} ({count})" for name, count in there.value_counts().items())
        raise DataError(
            f"{origin}: no image has the view {listing(unknown)}; views there: {counts}. "
            "Give views as a list of these, or null for all"
        )
    return frame[there.isin(list(views)).to_numpy()].copy()


def keep_files(frame: pd.DataFrame, root: Path, origin: str, subset: bool) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """With `subset`, keep the rows whose image is on disk and note how many; without, keep all: the checks refuse.

    frame: column image. Raises DataError if no image is there at all.
    """
    if not subset:
        return frame, ()
    keys = frame["image"].astype(str).tolist()
    # A key that leaves the root is not looked for: the row stays, and the table's checks refuse it by name.
    safe = np.array([unsafe_key(key) is None for key in keys], dtype=bool)
    there = ~safe
    there[safe] = file_sizes(root, [keys[i] for i in np.flatnonzero(safe)]) != MISSING
    if not there.any():
        example = frame["image"].iloc[0]
        raise DataError(
            f"{origin}: none of its {len(frame)} images is below the data root {root} (looked for {example!r} first); "
            "set data.root"
        )
    name = Path(origin).name
    return frame[there].copy(), (f"subset: {int(there.sum())} of {len(frame)} images of {name} are on disk",)

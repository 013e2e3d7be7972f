"""Has a run that another one starts from learnt from patients the other one is judged on?"""

import logging
from collections.abc import Iterable
from typing import Any

import pandas as pd

from cxrvl.config.dotted import ABSENT, differing
from cxrvl.data.selection import SELECTION_KEYS
from cxrvl.errors import DataError
from cxrvl.runs.identity import data_table
from cxrvl.runs.upstream import Link

log = logging.getLogger(__name__)

JUDGED = ("val", "test")
SHOWN = 6
"""Settings that differ, in a message."""


def refuse_known_patients(config: dict[str, Any], before: Iterable[Link]) -> None:
    """Refuse a run whose validation or test part holds a patient that a run it starts from was trained on.

    That happens where an override changes the data or the split of the one and not of the other. A patient is one of a
    data set, and part of a training also without labels. What a file or published weights have seen, nobody knows here;
    nor, where its data are not on this machine, what a finished run has, which is warned of.

    Args:
        config: of the run that starts, resolved.
        before: all the runs it starts from, near and far.

    Raises:
        DataError: how many patients of which data set, and which settings differ.
    """
    judged = _patients(config, JUDGED)
    for link in before:
        try:
            learnt = _patients(link.config, ("train",))
        except DataError as error:
            if link.run.state() != "done":
                raise
            # A run that was made elsewhere and is named by its id needs no data here to start from.
            log.warning("run %s is there, its data are not, so nobody checks on which patients it was trained: %s",
                        link.run_id, error)  # fmt: skip
            continue
        known = judged.intersection(learnt)
        if len(known):
            sets = ", ".join(sorted(set(known.get_level_values("dataset"))))
            raise DataError(
                f"{config['name']} is judged on {len(known)} patient(s) of {sets} that {link.config['name']} (run "
                f"{link.run_id}), which it starts from, was trained on; give both the same data and split, in "
                f"init_from.run as well{_settings(config, link.config)}"
            )


def _patients(config: dict[str, Any], splits: tuple[str, ...]) -> pd.MultiIndex:
    frame = data_table(config).frame
    return pd.MultiIndex.from_frame(frame.loc[frame["split"].isin(splits), ["dataset", "patient"]].drop_duplicates())


def _settings(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """What differs between the data of two configs, as the overrides that would make the other's like mine."""
    own, other = ({key: one["data"].get(key) for key in ("source", *SELECTION_KEYS)} for one in (mine, theirs))
    words = [f"data.{key}={'null' if a is ABSENT else a}" for key, (a, _) in differing(own, other).items()]
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return f": {' '.join(words[:SHOWN])}{more}" if words else ""

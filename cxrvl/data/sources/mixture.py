"""How do several data sets become one? A source over sources: their rows together, each with its own name and weight."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.checks import SPLIT_NAMES, listing
from cxrvl.data.files import unsafe_key
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.rows import Rows
from cxrvl.data.sources.base import Source, known_options, report_table
from cxrvl.data.sources.choices import settle_uncertain
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError

DEFAULT = "default"
"""The key that holds for every source without one of its own, here and in `data.text`."""
POLICY_KEYS = ("uncertain", "unstated")
UNSTATED = {"keep": np.nan, "negative": 0.0}


class Mixture:
    """Several data sets as one: the rows of the first, then of the second, and so on.

    Labels are the union of theirs, not stated where a data set does not know one; patients of different data sets are
    different people. The column `dataset` holds the source's name here, and image keys are `<name>/<key>`. Splits,
    boxes and section texts stay each source's own; what a report is read as is said per name in `data.text`.

    Args:
        sources: the data sets, none of them a mixture itself.
        weights: share of each source in a training epoch, in any unit, in the order of `sources`; 0 keeps a source out
            of training, but in validation and test. None = every row once.
        names: one per source, where their own names would be the same.
        epoch_length: training rows of an epoch with weights; None = as many as the weighted sources have. Small sources
            come up several times, reshuffled each time; large ones go on in the next epoch where this one ends.
        label_policies: name, or `default` -> {uncertain: ..., unstated: keep|negative}; uncertain as in
            `cxrvl.data.sources.choices.settle_uncertain`; unstated=negative reads every label that the source has, and
            does not state, as 0.
        splits: name -> train, val, test or unlabelled: all images of that source go there, whatever its own split says.
            {hospital_b: test} makes it an external test set; sources that are not named keep their own split.
        name: of the whole, and of its image store.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
        epoch_length: int | None = None,
        label_policies: Mapping[str, Mapping[str, Any]] | None = None,
        splits: Mapping[str, str] | None = None,
        name: str = "mixture",
    ) -> None:
        self.name = name
        self.parts = _named(sources, names)
        self.weights = _weighted(list(self.parts), weights)
        if epoch_length is not None and (weights is None or epoch_length < 1):
            raise ConfigError(
                f"data.source.epoch_length={epoch_length} with weights={weights}; expected at least one row and weights"
            )
        self.epoch_length = epoch_length
        self.label_policies = label_policies or {}
        self.splits = _whole_splits(splits or {}, list(self.parts))
        self.shareable = all(source.shareable for source in self.parts.values())

    def table(self) -> StudyTable:
        """Join the study tables; DataError where one of them cannot be used."""
        policies = by_name(self.label_policies, list(self.parts), "data.source.label_policies", POLICY_KEYS)
        tables = []
        for name, source in self.parts.items():
            table = source.table()
            keys = pd.Series([f"{name}/{key}" for key in table.frame["image"]], dtype=object)
            tables.append(self._placed(_settled(_renamed(table, name, image=keys), policies[name], name), name))
        return replace(StudyTable.concat(tables), root=None)

    def reports(self) -> ReportTable:
        """Join the report tables; DataError where a source has no report text."""
        policies = by_name(self.label_policies, list(self.parts), "data.source.label_policies", POLICY_KEYS)
        tables = [
            self._placed(_settled(_renamed(report_table(source), name), policies[name], name), name)
            for name, source in self.parts.items()
        ]
        return ReportTable.concat(tables)

    def read(self, image_key: str) -> np.ndarray:
        """Decode one image: grey, (H, W) float32 in [0, 1]; ImageError where it cannot be read."""
        source, key = self._where(image_key)
        return source.read(key)

    def read_many(self, image_keys: Sequence[str]) -> list[np.ndarray]:
        """Decode several images, in the order of the keys, many of one source at once where it can."""
        places: dict[str, list[int]] = {}
        for place, key in enumerate(image_keys):
            places.setdefault(key.partition("/")[0], []).append(place)
        images: list[Any] = [None] * len(image_keys)
        for inside in places.values():
            found = [self._where(image_keys[place]) for place in inside]
            source, keys = found[0][0], [key for _, key in found]
            many = getattr(source, "read_many", None)
            for place, image in zip(inside, many(keys) if many else map(source.read, keys), strict=True):
                images[place] = image
        return images

    def path(self, image_key: str) -> Path | None:
        """Return the file of an image; None for a generated one."""
        source, key = self._where(image_key)
        path = getattr(source, "path", None)
        return path(key) if path else None

    def pixel_identity(self) -> dict[str, Any]:
        """Everything besides the files that determines pixels: that of each source, by name."""
        return {"sources": {name: source.pixel_identity() for name, source in self.parts.items()}}

    def _placed(self, table: Rows, name: str) -> Rows:
        """Put all rows of a source into the split that is asked for."""
        if name not in self.splits:
            return table
        split = self.splits[name]
        return table.with_split(np.full(len(table), split, dtype=object), f"{name}: all {split}")  # type: ignore[attr-defined, no-any-return]

    def _where(self, image_key: str) -> tuple[Source, str]:
        name, _, key = image_key.partition("/")
        if name not in self.parts or not key:
            raise DataError(
                f"image {image_key!r} is of no source of this mixture; it has {listing(list(self.parts), 20)}"
            )
        return self.parts[name], key


def by_name(
    settings: Mapping[str, Mapping[str, Any]], names: Sequence[str], option: str, known: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Resolve settings per source: what stands under its name, over what stands under `default`.

    Raises ConfigError for a name that is none of `names`, DataError for a key that is none of `known`.
    """
    for name, given in settings.items():
        if name != DEFAULT and name not in names:
            raise ConfigError(
                f"{option} names {name!r}, which is no source here{did_you_mean(name, [*names, DEFAULT])}"
            )
        if not isinstance(given, Mapping):
            raise ConfigError(f"{option}.{name} is {given!r}; expected a mapping with {', '.join(known)}")
        known_options(given, known, f"{option}.{name}")
    return {name: {**settings.get(DEFAULT, {}), **settings.get(name, {})} for name in names}


def _named(sources: Sequence[Source], names: Sequence[str] | None) -> dict[str, Source]:
    if not sources or (names is not None and len(names) != len(sources)):
        raise ConfigError(
            f"data.source has {len(sources)} sources and {len(names or [])} names; expected at least one source, and as "
            "many names, or none"
        )
    chosen = [source.name for source in sources] if names is None else list(names)
    if len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"data.source: two sources are named alike ({listing(chosen, 20)}); give each its own name, in data.source.names"
        )
    for name, source in zip(chosen, sources, strict=True):
        if unsafe_key(name) or "/" in name or name == DEFAULT:
            raise ConfigError(f"data.source: {name!r} cannot name a source; expected a plain name such as hospital_a")
        if isinstance(source, Mixture):
            raise ConfigError(f"data.source: {name!r} is a mixture inside a mixture; list its sources directly")
    return dict(zip(chosen, sources, strict=True))


def _whole_splits(splits: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    for name, split in splits.items():
        if name not in names:
            raise ConfigError(f"data.source.splits names {name!r}, which is no source here{did_you_mean(name, names)}")
        if split not in SPLIT_NAMES:
            raise ConfigError(f"data.source.splits.{name} is {split!r}; expected one of {', '.join(SPLIT_NAMES)}")
    return dict(splits)


def _weighted(names: Sequence[str], weights: Sequence[float] | None) -> dict[str, float] | None:
    if weights is None:
        return None
    if len(weights) != len(names) or min(weights) < 0 or not 0 < sum(weights) < np.inf:
        raise ConfigError(
            f"data.source.weights is {list(weights)} for the sources {listing(names, 20)}; expected one number per "
            "source, none of them negative and not all 0"
        )
    return dict(zip(names, map(float, weights), strict=True))


def _renamed(table: Rows, name: str, **columns: pd.Series) -> Rows:
    """Put a table's rows under the source's name here, which its split and notes then carry, too."""
    notes = tuple(f"{name}: {note}" for note in table.notes)  # type: ignore[attr-defined]
    split = table.split_name if table.split_name.startswith(name) else f"{name}: {table.split_name}"
    frame = table.frame.assign(dataset=name, **columns)
    return replace(table, frame=frame, split_name=split, notes=notes)  # type: ignore[type-var]


def _settled(table: Rows, policy: Mapping[str, Any], name: str) -> Rows:
    """Apply a source's label policy."""
    unstated = policy.get("unstated", "keep")
    if unstated not in UNSTATED:
        raise ConfigError(f"{name}: unstated is {unstated!r}; expected {' or '.join(UNSTATED)}")
    values = settle_uncertain(table.frame[list(table.labels)], policy.get("uncertain", "keep"), name)
    frame = table.frame.copy()
    frame[list(table.labels)] = values.fillna(UNSTATED[unstated]).astype(np.float32)
    return replace(table, frame=frame)  # type: ignore[type-var]

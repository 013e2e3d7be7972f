"""How does a config say where a value stands in somebody else's table? By column, by template, or by pattern."""

import string
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cxrvl.data.checks import listing
from cxrvl.data.labels import map_values
from cxrvl.data.sources.base import known_options
from cxrvl.errors import DataError

Spec = str | Mapping[str, Any]


def column(raw: pd.DataFrame, name: str, origin: str) -> pd.Series:
    """One column by name; DataError lists the columns there are."""
    if name not in raw:
        raise DataError(
            f"{origin}: column {name!r} is missing; found {listing([repr(str(c)) for c in raw.columns], 40)}. "
            "Name one of these in the config"
        )
    return raw[name]


def values(raw: pd.DataFrame, spec: Spec, origin: str, recode: Mapping[str, str] | None = None) -> pd.Series:
    """Read one text value per row, NaN where the table has none.

    spec: a column name; a template of column names, "images/{image_id}.jpg"; or {column: ..., pattern: ...}, a regular
    expression whose first group (or whole match) is the value.
    recode: written value -> value of the study table; values it does not name stay as they are.
    Raises DataError for an absent column, or a row that the pattern does not fit, naming it.
    """
    if isinstance(spec, str):
        fields = [field for _, field, _, _ in string.Formatter().parse(spec) if field is not None]
        result = column(raw, spec, origin).astype(object) if not fields else _filled(raw, spec, fields, origin)
    else:
        known_options(spec, ("column", "pattern"), f"{origin}: columns")
        text = column(raw, spec["column"], origin)
        matches = text.astype(str).str.extract(f"({spec['pattern']})")
        result = matches.iloc[:, min(1, matches.shape[1] - 1)].astype(object)
        bad = np.flatnonzero((result.isna() & text.notna()).to_numpy())
        if bad.size:
            raise DataError(
                f"{origin}, row {int(raw.index[bad[0]]) + 1}, column {spec['column']!r}: {text.iloc[bad[0]]!r} does not "
                f"fit the pattern {spec['pattern']!r} ({bad.size} such rows); correct the pattern"
            )
    result = result.where(result.isna(), result.astype(str).str.strip())
    return result if recode is None else result.replace(dict(recode))


def _filled(raw: pd.DataFrame, template: str, fields: list[str], origin: str) -> pd.Series:
    parts = {field: column(raw, field, origin) for field in fields}
    empty = np.zeros(len(raw), dtype=bool)
    for part in parts.values():
        empty |= part.isna().to_numpy()
    if empty.any():
        raise DataError(
            f"{origin}, row {int(raw.index[np.flatnonzero(empty)[0]]) + 1}: a field of the template {template!r} is "
            f"empty ({int(empty.sum())} such rows); fill it or filter these rows with `where`"
        )
    rows = zip(*(part.astype(str) for part in parts.values()), strict=True)
    return pd.Series(
        [template.format(**dict(zip(fields, row, strict=True))) for row in rows], index=raw.index, dtype=object
    )


def label_values(raw: pd.DataFrame, spec: Spec, mapping: Mapping[object, float] | None, origin: str) -> pd.Series:
    """Read one label per row: float32 1, 0, -1, NaN.

    spec: a column name, read through `mapping` (see `map_values`); or a mapping with one of
        {column: c, values: {...}}  that column through a value map of its own
        {column: c, has: name, separator: ",", unstated: [...]}  1 where the list of findings in c has the name, 0 where
            it has not, NaN where c is empty or one of `unstated`
        {constant: 1}  the same value for every row (a data set of positives only)
    Raises DataError for an absent column, an unknown value, or a `has` that no row has.
    """
    if isinstance(spec, str):
        return map_values(column(raw, spec, origin), mapping, origin)
    known_options(spec, ("column", "values", "has", "separator", "unstated", "constant"), f"{origin}: labels")
    if "constant" in spec:
        return pd.Series(np.float32(spec["constant"]), index=raw.index)
    source = column(raw, spec["column"], origin)
    if "has" not in spec:
        return map_values(source, spec.get("values", mapping), origin)
    return _has(source, str(spec["has"]), spec.get("separator"), list(spec.get("unstated", ())), origin)


def _has(source: pd.Series, name: str, separator: str | None, unstated: list[str], origin: str) -> pd.Series:
    codes, entries = pd.factorize(source, use_na_sentinel=False)
    result = np.full(len(entries), np.nan, dtype=np.float32)
    stated: set[str] = set()
    for code, entry in enumerate(entries):
        if pd.isna(entry) or str(entry).strip() in unstated:
            continue
        parts = [part.strip() for part in (str(entry).split(separator) if separator else [str(entry)])]
        stated.update(parts)
        result[code] = float(name in parts)
    if name not in stated:
        raise DataError(
            f"{origin}, column {source.name!r}: no row has {name!r}; names there: {listing(sorted(stated), 30)}. "
            "Correct `has` (and `separator`, where a field lists several)"
        )
    return pd.Series(result[codes], index=source.index)

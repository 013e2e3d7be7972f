"""Which columns of a new file of reports hold what? As the user says, as a run's own table had them, or by their names."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrvl.data.checks import listing
from cxrvl.data.sources.columns import Spec
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import DataError

RESERVED = ("row", "embedding")
NAMED = ("study", *SECTIONS)
OWN_IDS = ("study", "id")


@dataclass(frozen=True)
class Columns:
    """Which columns are read.

    sections: section -> column, template or pattern, as in `Manifest`. whose: who says so, for messages.
    name, identifier: what the ids are called, and where they stand; None = reports are told by their row alone.
    """

    sections: Mapping[str, Spec]
    whose: str
    name: str | None = None
    identifier: Spec | None = None

    def __str__(self) -> str:
        read = ", ".join(f"{section} from {_shown(spec)}" for section, spec in self.sections.items())
        named = "no column names the reports" if self.identifier is None else f"named by {_shown(self.identifier)}"
        return f"{read} ({self.whose}); {named}"


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Read `report=text study=accession`: section, or study -> column.

    Raises:
        DataError: anything else, a name that is no section, one said twice, no section at all.
    """
    found: dict[str, str] = {}
    for word in words:
        name, _, column = word.partition("=")
        if name not in NAMED or not column or name in found:
            what = "is said twice" if name in found else f"is not one of {', '.join(NAMED)}, with =column behind it"
            raise DataError(f"--columns: {word!r} {what}; such as --columns report=text study=accession")
        found[name] = column
    if found and set(found) <= {"study"}:
        raise DataError(f"--columns names no report text; add one of {', '.join(SECTIONS)}, such as report=text")
    return found


def chosen_columns(
    path: Path, names: Sequence[str], given: Mapping[str, str], learnt: Mapping[str, Spec], id_column: str | None
) -> Columns:
    """Choose which columns of a file are read, see `ReportStream`; DataError where there is no report text."""
    shown = listing([repr(name) for name in names], 40)
    if given:
        columns: Mapping[str, Spec] = given
        whose = "--columns"
        absent = _absent(given, names, path)
        if absent:
            raise DataError(f"{path}: there is no column {absent[0]!r}; found {shown}; correct --columns")
    else:
        sections = {name: spec for name, spec in learnt.items() if name in SECTIONS}
        absent = _absent(sections, names, path)
        if sections and not absent:
            columns, whose = learnt, "the run's data.source.columns"
        else:
            columns, whose = {name: name for name in SECTIONS if name in names}, "by their names"
            if not columns:
                asked = f"; the run's own mapping asks for {listing([repr(n) for n in absent], 9)}" if absent else ""
                raise DataError(
                    f"{path}: no column with report text; found {shown}, expected some of {', '.join(SECTIONS)}{asked}. "
                    "Say which column is what: --columns report=<column> study=<column>"
                )
    name, spec = _identifier(path, names, columns, given, id_column)
    return Columns({s: columns[s] for s in SECTIONS if s in columns}, whose, name, spec)


def _identifier(
    path: Path, names: Sequence[str], columns: Mapping[str, Spec], given: Mapping[str, str], id_column: str | None
) -> tuple[str | None, Spec | None]:
    """What the ids are called and where they stand."""
    if id_column is not None:
        if "study" in given:
            raise DataError("--id and --columns study=... both name the reports; give one of them")
        if id_column in RESERVED:
            raise DataError(
                f"--id {id_column}: the output has columns {' and '.join(RESERVED)} of its own; rename the column, or "
                f"read it as the study: --columns study={id_column} report=<column>"
            )
        if not id_column or id_column not in names:
            raise DataError(
                f"{path}: there is no column {id_column!r}; found {listing([repr(n) for n in names], 40)}; correct --id"
            )
        return id_column, id_column
    if "study" in columns and not _absent({"study": columns["study"]}, names, path):
        return "study", columns["study"]
    own = next((name for name in OWN_IDS if name in names), None)
    return own, own


def _absent(columns: Mapping[str, Spec], names: Sequence[str], path: Path) -> list[str]:
    """Columns that a mapping reads and the file lacks."""
    return [field for spec in columns.values() for field in fields_of(spec, path) if field not in names]


def fields_of(spec: Spec, path: Path) -> list[str]:
    """The columns that a column name, a template or a pattern reads."""
    if not isinstance(spec, str):
        return [spec["column"]]
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(spec) if field is not None]
    except ValueError as error:
        raise DataError(f"{path}: {spec!r} is no column and no template of columns ({error})") from error
    return fields or [spec]


def _shown(spec: Spec) -> str:
    return f"column {spec!r}" if isinstance(spec, str) else f"column {spec['column']!r}"

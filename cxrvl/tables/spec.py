"""What does a table compare: which rows, seeds, label groups, metrics and tests?"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError
from cxrvl.evaluation.labels import UNCERTAIN_POLICIES
from cxrvl.evaluation.row_statistics import METRICS, Selection
from cxrvl.tables.published import Published, PublishedNumber, load_published
from cxrvl.tables.toml_reader import Keys, file_name

ALL = "all"
"""The label group every table has: all labels of the predictions."""


@dataclass(frozen=True)
class Row:
    """One experiment (``experiment=<table>/<name>``) and the words the table prints for it."""

    name: str
    label: str


@dataclass(frozen=True)
class Measure:
    """What is computed once for all labels: a metric of one evaluation's predictions, of all images or a selection."""

    evaluation: str
    metric: str
    selection: Selection = field(default_factory=Selection)

    @property
    def key(self) -> str:
        """Identifies the measure within its line: ``<evaluation>/<metric>``, ``@<data sets>``, ``#<corruption>.<severity>``."""
        chosen = self.selection
        parts = [f"{self.evaluation}/{self.metric}"]
        parts += [f"@{'+'.join(chosen.datasets)}"] if chosen.datasets else []
        parts += [f"#{chosen.corruption or 'all'}"] if chosen.corruption or chosen.severity else []
        parts += [f".{chosen.severity}"] if chosen.severity else []
        return "".join(parts)

    @property
    def words(self) -> str:
        """The metric and what it is restricted to, for titles."""
        chosen = self.selection
        told = [metric_words(self.metric), *chosen.datasets, chosen.corruption]
        return ", ".join([*filter(None, told), *([f"severity {chosen.severity}"] if chosen.severity else [])])


@dataclass(frozen=True)
class Column:
    """One number per row: a metric of one evaluation's predictions, averaged over the labels of a group.

    ``tested`` says whether row differences in this column enter the table's family of tests (Holm). ``selection``:
    the images of some data sets alone (an external test set), or one corruption or severity of a robustness evaluation.
    ``published``: the group under which published.csv holds this column's numbers; its split there has the same name.
    Without it the first column of a metric and group over all images shows those of its group.
    """

    evaluation: str
    metric: str
    group: str
    title: str
    tested: bool = True
    selection: Selection = field(default_factory=Selection)
    published: str = ""

    @property
    def measure(self) -> Measure:
        """What is computed for it, whatever the group."""
        return Measure(self.evaluation, self.metric, self.selection)

    @property
    def key(self) -> str:
        """Identifies the column within its line: ``<measure>:<group>``."""
        return f"{self.measure.key}:{self.group}"


@dataclass(frozen=True)
class LineSpec:
    """One table as printed: rows compared on the same images, several seeds each.

    on_request: computed only when it is named, not where all lines of a table are asked for. protocol: the table's, where
    the line has none of its own. data_split: the way of splitting its rows were scored on.
    """

    name: str
    title: str
    question: str
    protocol: str
    rows: tuple[Row, ...]
    baseline: str
    seeds: tuple[int, ...]
    data_split: str
    score_split: str
    columns: tuple[Column, ...]
    comparisons: tuple[tuple[str, str], ...]
    per_label: bool
    show_published: bool
    notes: tuple[str, ...]
    on_request: bool = False

    @property
    def evaluations(self) -> tuple[str, ...]:
        """Names of the evaluations whose predictions the columns need, in order of first use."""
        return tuple(dict.fromkeys(column.evaluation for column in self.columns))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the columns need computed, in order of first use."""
        return tuple(dict.fromkeys(column.measure for column in self.columns))

    def row(self, name: str) -> Row:
        """The row of that name; ConfigError when the line has none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise ConfigError(
            f"line {self.name!r} has no row {name!r}{did_you_mean(name, [row.name for row in self.rows])}"
        )


@dataclass(frozen=True)
class TableSpec:
    """A table folder (``experiments/<name>/``): its lines, label groups and published numbers.

    resamples: of the bootstrap over patients. uncertain: what an uncertain label counts as (ignore, zeros, ones).
    """

    name: str
    title: str
    intro: str
    synthetic: bool
    resamples: int
    uncertain: str
    groups: dict[str, tuple[str, ...]]
    lines: dict[str, LineSpec]
    published: Published = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> "TableSpec":
        """Read ``table.toml`` and, where present, ``published.csv`` of a table folder.

        Raises ConfigError for a missing file, invalid TOML, an unknown or mistyped key (naming the nearest one),
        a row, baseline, group or metric that does not exist, and for published numbers no row or context uses.
        """
        path = folder / "table.toml"
        where = file_name(path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{where} not found; a table folder holds table.toml and one YAML per row") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} is not valid TOML: {error}") from None
        keys = Keys(content, where)
        protocol = keys.text("protocol", "")
        groups = keys.lists("groups")
        if ALL in groups:
            raise ConfigError(
                f"{where}.groups: {ALL!r} is reserved for all labels of the predictions; rename the group"
            )
        spec = cls(
            name=folder.name,
            title=keys.text("title"),
            intro=keys.text("intro", ""),
            synthetic=keys.flag("synthetic", False),
            resamples=keys.integer("resamples", 2000, least=100),
            uncertain=_choice(keys, "uncertain", "ignore", UNCERTAIN_POLICIES),
            groups=groups,
            lines={name: _line(name, line, groups, protocol) for name, line in keys.named("line").items()},
            published=load_published(folder / "published.csv"),
        )
        keys.done()
        if all(line.on_request for line in spec.lines.values()):
            raise ConfigError(
                f"{where}: every line is on_request, so that the table by itself is empty; leave one without"
            )
        row_names = {row.name for line in spec.lines.values() for row in line.rows}
        spec.published.check_rows(row_names)
        return spec

    def published_number(self, line: LineSpec, row: str, column: Column) -> PublishedNumber | None:
        """The number published for a row in a column, as `Column` says; None where there is none."""
        if column.published:
            return self.published.get(row, column.published, column.metric)
        alike = [one for one in line.columns if (one.metric, one.group) == (column.metric, column.group)]
        first = next((one for one in alike if not one.selection and not one.published), None)
        return self.published.get(row, column.group, column.metric) if column == first else None

    def asked(self, name: str | None = None) -> list[LineSpec]:
        """The line of that name, or all that are not on request; ConfigError naming the lines there are."""
        return [self.line(name)] if name else [line for line in self.lines.values() if not line.on_request]

    def line(self, name: str | None = None) -> LineSpec:
        """The line of that name (``LINE=``), or the only one; ConfigError naming the lines there are."""
        if name is None:
            if len(self.lines) == 1:
                return next(iter(self.lines.values()))
            raise ConfigError(f"table {self.name!r} has several lines: {', '.join(self.lines)}; choose one with LINE=")
        if name not in self.lines:
            raise ConfigError(f"table {self.name!r} has no line {name!r}{did_you_mean(name, list(self.lines))}")
        return self.lines[name]


def _line(name: str, keys: Keys, groups: dict[str, tuple[str, ...]], protocol: str) -> LineSpec:
    rows = tuple(_row(row) for row in keys.tables("rows"))
    names = [row.name for row in rows]
    if len(set(names)) != len(names):
        raise ConfigError(f"{keys.where}.rows: a row name occurs twice: {', '.join(names)}")
    baseline = keys.text("baseline")
    columns = tuple(_column(column, groups) for column in keys.tables("columns"))
    column_keys = [column.key for column in columns]
    if len(set(column_keys)) != len(column_keys):
        raise ConfigError(
            f"{keys.where}.columns: an evaluation, metric and group occur twice: {', '.join(column_keys)}"
        )
    comparisons = keys.pairs("comparisons") or tuple((row, baseline) for row in names if row != baseline)
    for row in [baseline, *(row for pair in comparisons for row in pair)]:
        if row not in names:
            raise ConfigError(f"{keys.where}: {row!r} is not among the rows{did_you_mean(row, names)}")
    line = LineSpec(
        name=name,
        title=keys.text("title"),
        question=keys.text("question", ""),
        protocol=keys.text("protocol", protocol),
        rows=rows,
        baseline=baseline,
        seeds=keys.integers("seeds"),
        data_split=keys.text("data_split"),
        score_split=keys.text("score_split", "test"),
        columns=columns,
        comparisons=comparisons,
        per_label=keys.flag("per_label", True),
        show_published=keys.flag("show_published", True),
        notes=keys.texts("notes", ()),
        on_request=keys.flag("on_request", False),
    )
    keys.done()
    return line


def metric_words(metric: str) -> str:
    """A metric as a title says it: "auroc" -> "AUROC", "pointing_game" -> "Pointing game"."""
    words = [word.upper() if word in ("auroc", "auprc", "jafroc") else word for word in metric.split("_")]
    text = " ".join(f"{word} %" if word.isdigit() else word for word in words)
    return text[0].upper() + text[1:]


def _choice(keys: Keys, key: str, default: str, known: tuple[str, ...]) -> str:
    value = keys.text(key, default)
    if value not in known:
        raise ConfigError(f"{keys.where}.{key}: unknown value {value!r}{did_you_mean(value, known)}")
    return value


def _row(keys: Keys) -> Row:
    row = Row(name=keys.text("name"), label=keys.text("label"))
    keys.done()
    return row


def _column(keys: Keys, groups: dict[str, tuple[str, ...]]) -> Column:
    metric = keys.text("metric")
    if metric not in METRICS:
        raise ConfigError(f"{keys.where}.metric: unknown metric {metric!r}{did_you_mean(metric, list(METRICS))}")
    group = keys.text("group", ALL)
    if group != ALL and group not in groups:
        raise ConfigError(f"{keys.where}.group: unknown label group {group!r}{did_you_mean(group, [ALL, *groups])}")
    selection = Selection(keys.texts("datasets", ()), keys.text("corruption", ""), keys.integer("severity", 0, least=1))
    if METRICS[metric] != "robustness" and (selection.corruption or selection.severity):
        raise ConfigError(
            f"{keys.where}: corruption and severity go with the metric corrupted_auroc, not with {metric!r}"
        )
    column = Column(
        evaluation=keys.text("evaluation"),
        metric=metric,
        group=group,
        title=keys.text("title", f"{metric_words(metric)}, {group}"),
        tested=keys.flag("tested", True),
        selection=selection,
        published=keys.text("published", ""),
    )
    keys.done()
    return column

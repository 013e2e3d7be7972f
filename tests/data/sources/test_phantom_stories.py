"""Do the phantom's tasks, follow-ups and reports reach the study table, and leave the plain cohort as it was?"""

import pytest

from cxrvl.data.phantom import FINDINGS
from cxrvl.data.sources.base import report_table
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.studies import SECTIONS, StudyTable
from cxrvl.errors import ConfigError, DataError

ALL = ("indication", "comparison", "technique", "findings", "impression", "report")
# The fingerprint of `PhantomSource(images=400)` and its pixel identity before there were tasks, reports and follow-ups.
LABELS = "5a9c51608fa42365820c1ea3a5fe5dc4375f82a026ceedffc574fcf5f697465f"


def test_the_plain_cohort_is_what_it_was():
    source = PhantomSource(images=400)
    table = source.table()
    assert table.fingerprint()["labels"] == LABELS
    assert "text" not in table.fingerprint()
    assert not set(SECTIONS) & set(table.frame)
    assert set(source.pixel_identity()) == {
        "generator", "seed", "size", "prevalence", "severity", "hospitals", "split",
    }  # fmt: skip
    assert PhantomSource(images=400, task="findings", reports="none").pixel_identity() == source.pixel_identity()


@pytest.mark.parametrize("style", ["prose", "verbose"])
def test_reports_fill_their_sections(style):
    table = PhantomSource(images=60, reports=style).table()
    assert set(SECTIONS) & set(table.frame) == set(ALL)
    assert (table.frame[list(ALL)] != "").all(axis=None)
    assert "text" in table.fingerprint()
    plain = PhantomSource(images=60).table()
    assert {k: v for k, v in table.fingerprint().items() if k != "text"} == plain.fingerprint()


def test_terse_reports_have_an_impression_alone():
    table = PhantomSource(images=60, reports="terse").table()
    assert set(SECTIONS) & set(table.frame) == {"impression", "report"}


def test_houses_differ_by_hospital():
    frame = PhantomSource(images=200, reports="by_hospital").table().frame
    assert ((frame["findings"] == "") == (frame["hospital"] == "B")).all()
    assert (frame["impression"] != "").all()
    prose = PhantomSource(images=200, reports="prose").table().frame
    same = frame["hospital"] == "A"
    assert (frame.loc[same, "report"] == prose.loc[same, "report"]).all()


def test_reports_do_not_depend_on_the_length_of_the_cohort():
    short, long = (PhantomSource(images=n, reports="prose", follow_ups=0.5).table().frame for n in (50, 90))
    assert long.iloc[:50].equals(short)


def test_a_report_table_comes_of_it():
    reports = report_table(PhantomSource(images=80, reports="prose"))
    assert len(reports.frame) == 80
    assert (reports.frame["impression"] != "").all()


@pytest.mark.parametrize(
    ("task", "label"), [("tuberculosis", "Tuberculosis"), ("covid", "COVID-19"), ("pneumothorax", "Pneumothorax")]
)
def test_tasks_have_one_label_with_boxes(task, label):
    source = PhantomSource(images=200, task=task, hospitals="shift", size=32)
    table = source.table()
    assert table.labels == (label,)
    table.check_trainable()
    assert set(table.frame.loc[table.frame["split"] == "test", "hospital"]) == {"B"}
    for row in table.frame.itertuples():
        positive = table.frame[label][row.Index] == 1
        assert {box[0] for box in row.boxes} == ({label} if positive else set())
        sides = {"right", "left", "both"} if positive else {""}
        assert table.frame[f"side/{label}"][row.Index] in sides
        assert label in source.finding_masks(row.image) if positive else True
    assert table.frame["boxes"].map(len).max() == (1 if task == "pneumothorax" else 2)


def test_tasks_may_label_their_other_findings_but_not_another_disease():
    table = PhantomSource(images=40, task="covid", labels=["COVID-19", "Effusion"]).table()
    assert table.labels == ("COVID-19", "Effusion")
    with pytest.raises(DataError, match="Tuberculosis"):
        PhantomSource(images=40, task="covid", labels=["Tuberculosis"]).table()


def test_pixel_identity_tells_tasks_and_courses_apart():
    plain = PhantomSource().pixel_identity()
    for change in ({"task": "covid"}, {"task": "tuberculosis"}, {"follow_ups": 0.0}, {"follow_ups": 0.5}):
        assert PhantomSource(**change).pixel_identity() != plain
    for same in ({"reports": "prose"}, {"name": "other"}):
        assert PhantomSource(**same).pixel_identity() == plain


def test_follow_ups_are_linked_to_the_visit_before():
    frame = PhantomSource(images=200, follow_ups=0.7).table().frame.set_index("image")
    later = frame[frame["prior"] != ""]
    assert len(later) == (frame["visit"] > 0).sum() > 80
    assert (frame.loc[frame["prior"] == "", "days"] == 0).all()
    assert (later["days"] > 0).all()
    for row in later.itertuples():
        assert frame.at[row.prior, "patient"] == row.patient
    for label in FINDINGS:
        was = later["prior"].map(frame[label]) == 1
        now, change = later[label] == 1, later[f"change/{label}"]
        assert (change[was & ~now] == "resolved").all()
        assert (change[~was & now] == "new").all()
        assert set(change[was & now]) <= {"better", "worse", "unchanged"}
        assert (change[~was & ~now] == "").all()


def test_two_cohorts_mix_under_two_names():
    sources = [
        PhantomSource(images=40, name=name, task=task) for name, task in (("tb", "tuberculosis"), ("c", "covid"))
    ]
    joint = StudyTable.concat([source.table() for source in sources])
    assert joint.labels == ("Tuberculosis", "COVID-19")
    assert len(joint) == 80


@pytest.mark.parametrize("option", [{"reports": "poetry"}, {"task": "x"}, {"follow_ups": 2.0}])
def test_impossible_options_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        PhantomSource(**option).table()

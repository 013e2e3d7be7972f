"""The numbers of a table are those one would count by hand, whatever is missing, and 100,000 rows take seconds."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.examples import Looker, contact_sheets, report_rows, sample, stated
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.studies import StudyTable
from cxrvl.data.summary import by_dataset, split_conflicts, study_texts, summarise

LABELS = ["Effusion", "Nodule"]


def table(**columns) -> StudyTable:
    """Six images of four studies of three patients."""
    frame = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(6)],
            "dataset": "here",
            "patient": ["a", "a", "b", "b", "c", "c"],
            "study": ["a1", "a1", "b1", "b2", "c1", "c1"],
            "split": ["train"] * 4 + ["test"] * 2,
            "view": ["PA", "LATERAL", "PA", "PA", "", "AP"],
            "age": [30, 30, np.nan, 41, 75, 75],
            "width": [100, 100, 200, 100, np.nan, 100],
            "height": [100, 100, 100, 100, np.nan, 100],
            "Effusion": [1, 1, 0, -1, np.nan, 0],
            "Nodule": [np.nan] * 6,
            "findings": ["one two three"] * 2 + ["", "four", "", "five six"],
        }
    ).assign(**columns)
    return StudyTable.build(frame, LABELS, split_name="by hand", root=None, origin="test")


def test_counts_images_studies_patients_and_boxes_per_split():
    boxes = [[("Nodule", 0, 0, 0.5, 0.5), ("Nodule", 0.5, 0.5, 1, 1)], [], [], [], [("Nodule", 0, 0, 1, 1)], []]
    counts = summarise(table(boxes=pd.Series(boxes))).counts
    assert counts.loc["train"].to_dict() == {"rows": 4, "studies": 3, "patients": 2, "boxed": 1, "boxes": 2}
    assert counts.loc["all"].to_dict() == {"rows": 6, "studies": 4, "patients": 3, "boxed": 2, "boxes": 3}
    assert "val" not in counts.index


def test_prevalence_leaves_uncertain_and_missing_out():
    labels = summarise(table()).labels.set_index(["label", "split"])
    found = labels.loc[("Effusion", "all")]
    assert found[["positive", "negative", "uncertain", "missing"]].tolist() == [2, 2, 1, 1]
    assert found["prevalence"] == 0.5
    assert np.isnan(labels.loc[("Nodule", "train")]["prevalence"])
    assert labels.loc[("Effusion", "train")]["prevalence"] == pytest.approx(2 / 3)


def test_missing_values_sizes_ages_and_views():
    summary = summarise(table())
    assert summary.missing["missing"].to_dict() == {
        "sex": 6,
        "findings": 2,
        "view": 1,
        "age": 1,
        "width": 1,
        "height": 1,
    }
    assert summary.ages.loc["all", "known"] == 5
    assert summary.ages.loc["train"].tolist() == [3, 30, 30, 30, 35.5, 41]
    assert summary.decades.tolist() == [0, 0, 0, 2, 1, 0, 0, 2]
    assert summary.sizes.iloc[0].tolist() == [100, 100, 4]
    assert summary.extents.loc["aspect", "max"] == 2
    assert summary.views.loc["PA"].to_dict() == {"train": 3, "test": 0, "all": 3}
    assert summary.views.loc["", "test"] == 1


def test_text_is_counted_once_per_study_and_taken_from_any_of_its_rows():
    summary = summarise(table())
    assert summary.lengths["findings"].tolist() == [3, 1, 2]
    line = summary.sections.loc["findings"]
    assert (line["with_text"], line["empty"], line["max"]) == (3, 0.25, 3)
    texts = study_texts(table().frame)
    assert texts["row"].tolist() == [0, 2, 3, 4]
    assert texts["findings"].tolist() == ["one two three", "", "four", "five six"]


def test_a_study_of_two_patients_is_told():
    assert summarise(table()).mixed_studies == 0
    assert summarise(table(study="s1")).mixed_studies == 1


def test_report_table_without_images():
    frame = pd.DataFrame({"dataset": "r", "study": ["1", "2", "3"], "patient": ["1", "2", "2"], "split": "train"})
    reports = ReportTable.build(frame.assign(impression=["clear", "", "no mass"]), [], split_name="s", origin="t")
    summary = summarise(reports)
    assert (summary.unit, summary.rows) == ("report", 3)
    assert summary.counts.loc["train"].to_dict() == {"rows": 3, "studies": 3, "patients": 2, "boxed": 0, "boxes": 0}
    assert summary.labels.empty or not len(summary.labels)
    assert summary.views.empty
    assert summary.extents.empty
    assert summary.sections.loc["impression", "with_text"] == 2
    assert report_rows(reports.frame, 5, 0, np.zeros(3, dtype=bool)).tolist() in ([0, 2], [2, 0])


def test_a_study_in_two_splits_is_counted():
    one = table(findings="clear")
    reports = one.reports()
    assert split_conflicts(one, reports) == 0
    other = reports.with_split(["test", "train", "train", "train"], "another")
    assert split_conflicts(one, other) == 2


def test_each_source_of_a_mixture_is_counted_for_itself():
    mixture = Mixture([PhantomSource(20), PhantomSource(30, labels=["Nodule"])], names=["small", "large"])
    joint = mixture.table()
    whole, parts = summarise(joint, ["small"]), by_dataset(joint, ["small"])
    assert [(part.datasets, part.rows) for part in parts] == [(("small",), 20), (("large",), 30)]
    assert parts[1].label_names == ("Nodule",)
    assert whole.synthetic == parts[0].synthetic == ("small",)
    assert parts[1].synthetic == ()
    stated_by = whole.by_source.set_index(["label", "dataset"])
    assert stated_by.loc[("Effusion", "large"), "missing"] == 30
    for part in parts:
        assert stated_by.loc[("Nodule", part.datasets[0]), "positive"] == part.labels["positive"][
            (part.labels["label"] == "Nodule") & (part.labels["split"] == "all")
        ].item()  # fmt: skip
    assert by_dataset(PhantomSource(5).table()) == []


values = st.sampled_from([1.0, 0.0, -1.0, np.nan])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(values, st.integers(0, 4), st.sampled_from(["", "a b", " "])), min_size=1, max_size=30))
def test_parts_add_up(rows):
    split = ["train", "val", "test", "unlabelled"]
    frame = pd.DataFrame(
        {
            "image": [str(i) for i in range(len(rows))],
            "dataset": "d",
            "patient": [str(patient) for _, patient, _ in rows],
            "split": [split[patient % 4] for _, patient, _ in rows],
            "Effusion": [value for value, _, _ in rows],
            "report": [text for _, _, text in rows],
        }
    )
    summary = summarise(StudyTable.build(frame, ["Effusion"], split_name="s", root=None, origin="t"))
    kinds = ["positive", "negative", "uncertain", "missing"]
    parts = summary.labels[summary.labels["split"] != "all"]
    assert parts[kinds].to_numpy().sum() == len(rows)
    if "all" in summary.counts.index:
        rest = summary.counts.drop(index="all")
        assert (rest.sum() == summary.counts.loc["all"]).all()
    filled = sum(bool(text.strip()) for _, _, text in rows)
    assert sum(map(len, summary.lengths.values())) == filled
    assert (summary.missing["missing"].get("report", 0)) == len(rows) - filled


def test_a_hundred_thousand_rows_take_seconds():
    n = 100_000
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(n)],
            "dataset": "big",
            "patient": [str(i // 4) for i in range(n)],
            "study": [str(i // 2) for i in range(n)],
            "split": np.where(np.arange(n) // 4 % 5 > 0, "train", "test"),
            "findings": [f"no focal opacity in zone {i // 2} and nothing else" for i in range(n)],
            **{label: rng.choice([0.0, 1.0], n) for label in LABELS},
        }
    )
    big = StudyTable.build(frame, LABELS, split_name="s", root=None, origin="big")
    begun = time.monotonic()
    assert summarise(big).rows == n
    assert sum(len(rows) for _, _, rows in contact_sheets(big, 24, 8, 0)) == 24 + 8 * 3
    assert report_rows(big.frame, 12, 0, np.ones(n, dtype=bool)).size == 12
    assert time.monotonic() - begun < 20


def test_samples_are_seeded_and_prefer_other_patients():
    frame = table().frame
    rows = np.arange(6)
    first = sample(frame, rows, 3, 0, "x")
    assert first.tolist() == sample(frame, rows, 3, 0, "x").tolist()
    assert set(frame["patient"].iloc[first]) == {"a", "b", "c"}
    assert sorted(sample(frame, rows, 99, 0, "x").tolist()) == rows.tolist()
    drawn = {tuple(sample(frame, rows, 3, seed, "x")) for seed in range(20)}
    assert len(drawn) > 3


def test_contact_sheets_hold_what_they_say():
    source = PhantomSource(120, labels=LABELS)
    phantom = source.table()
    sheets = {title: rows for title, _, rows in contact_sheets(phantom, 12, 4, seed=3)}
    assert list(sheets) == ["Random sample", "No label positive", *LABELS]
    assert len(sheets["Random sample"]) == 12
    for label in LABELS:
        assert (phantom.frame[label].iloc[sheets[label]] == 1).all()
    assert not (phantom.targets()[sheets["No label positive"]] == 1).any()
    uncertain = [title for title, _, _ in contact_sheets(table(), 12, 4, seed=3)]
    assert "Effusion, uncertain" in uncertain
    assert "Nodule" not in uncertain


def test_boxes_come_first_on_a_sheet():
    boxes = [[("Effusion", 0, 0, 1, 1)] if i == 1 else [] for i in range(6)]
    one = table(boxes=pd.Series(boxes), Effusion=1)
    sheet = next(rows for title, _, rows in contact_sheets(one, 6, 4, seed=0) if title == "Effusion")
    assert sheet[0] == 1
    assert len(set(sheet.tolist())) == 4


def test_reports_with_images_get_at_least_half_of_the_places():
    frame = pd.DataFrame({"dataset": "r", "study": [str(i) for i in range(40)], "patient": [str(i) for i in range(40)]})
    frame = frame.assign(split="train", report="a report")
    pictured = np.arange(40) < 5
    rows = report_rows(frame, 8, 0, pictured)
    assert pictured[rows].sum() == 4
    assert len(rows) == 8
    assert pictured[report_rows(frame, 8, 0, np.ones(40, dtype=bool))].size == 8
    assert pictured[report_rows(frame, 40, 0, pictured)].sum() == 5
    assert report_rows(frame.assign(report=" "), 8, 0, pictured).size == 0


def test_stated_labels_by_word():
    frame = table().frame
    assert stated(frame, 0, LABELS) == {"present": ["Effusion"]}
    assert stated(frame, 3, LABELS) == {"uncertain": ["Effusion"]}
    assert stated(frame, 5, LABELS) == {"absent": ["Effusion"]}


def test_an_image_is_read_once():
    class Counting(PhantomSource):
        reads = 0

        def read(self, image_key):
            type(self).reads += 1
            return super().read(image_key)

    source = Counting(4, size=32)
    looker = Looker(source, source.table())
    assert looker.look(2).pixels.shape == (32, 32)
    assert looker.look(2) is looker.look(2)
    assert Counting.reads == 1

"""Do triplets hold pairs that say the same and negatives that do not, of the right reports alone?"""

import json

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.labeler import Labeler
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.reports.texts import Reading, Texts
from cxrvl.data.triplets import (
    ErrorNegatives,
    ExternalTriplets,
    LabelSentences,
    MinedNegatives,
    Rewrites,
    SectionPairs,
)
from cxrvl.data.triplets.labels import label_sentence, label_set, number_of
from cxrvl.data.triplets.triplet import Tasks
from cxrvl.errors import ConfigError, DataError

REPORTS = [
    ("There is a small left pleural effusion. The heart is enlarged.", "Left effusion. Cardiomegaly."),
    ("The lungs are clear. No pneumothorax. The heart is normal in size.", "No acute disease."),
    ("Right lower lobe consolidation, 3 cm. No pleural effusion.", "Right lower lobe pneumonia."),
    ("The lungs are clear. Heart size is normal.", ""),
    ("There is a small right pleural effusion. The heart is normal in size.", "Right effusion."),
]


@pytest.fixture
def texts():
    rows = [
        {"dataset": "made", "study": f"s{n}", "patient": f"p{n}", "split": "train", "findings": f, "impression": i}
        for n, (f, i) in enumerate(REPORTS)
    ]
    table = ReportTable.build(pd.DataFrame(rows), (), split_name="made", origin="made")
    return Texts(table, {"made": Reading("both")}, seed=0)


ROWS = np.arange(len(REPORTS))
PAIR = '{"dataset": "made", "study": "s1", "query": "%s", "positive": "%s"}'


def test_sections_of_one_report(texts):
    task = SectionPairs(instruction="Find it.")
    assert task.items(texts, ROWS).tolist() == [0, 1, 2, 4]
    one = task.make(texts, 2, epoch=0)
    assert (one.query, one.positive, one.negatives) == (*REPORTS[2], ())
    text, span = one.text()
    assert text == f"Find it. {REPORTS[2][0]}"
    assert span.of(text) == REPORTS[2][0]


def test_rewritings_change_with_the_epoch_and_repeat(texts):
    task = Rewrites(styles={"shuffle": 1.0, "synonyms": 0.5}, of="findings")
    items = task.items(texts, ROWS)
    assert 1 in items
    seen = [task.make(texts, 1, epoch) for epoch in range(6)]
    assert [one.positive for one in seen] == [REPORTS[1][0]] * 6
    assert len({one.query for one in seen}) > 1
    assert task.make(texts, 1, 3) == seen[3]


def test_query_and_positive_change_places_by_chance(texts):
    task = Rewrites(styles={"shuffle": 1.0}, of="findings", swap=0.5)
    swapped = [task.make(texts, 1, epoch).query == REPORTS[1][0] for epoch in range(40)]
    assert 8 < sum(swapped) < 32


def test_label_sentences_say_what_the_labeler_finds(texts):
    sentence = label_sentence(REPORTS[0][0])
    assert "Present: cardiomegaly, pleural effusion." in sentence
    assert label_sentence(REPORTS[1][0]).startswith("No abnormal finding.")
    assert "pneumothorax" not in label_sentence(REPORTS[1][0], absent=False)
    one = LabelSentences(of="findings").make(texts, 0, 0)
    assert (one.query, one.positive) == (REPORTS[0][0], sentence)


def test_label_sets_tell_findings_apart_and_normal_reports_alike():
    assert label_set(REPORTS[1][0]) == label_set(REPORTS[3][0]) == "normal"
    assert label_set(REPORTS[0][0]) != label_set(REPORTS[4][0])
    assert number_of("") == -1
    assert number_of("a") != number_of("b")
    assert 0 <= number_of("a") < 2**63
    assert number_of("normal", "labels") != number_of("normal")
    assert number_of("", "labels") == -1


def test_error_negatives_say_something_else(texts):
    task = ErrorNegatives(
        styles={"shuffle": 1.0}, of="findings", kinds=["false_negation", "false_prediction"], negatives=2
    )
    labeler = Labeler("findings")
    items = task.items(texts, ROWS)
    assert len(items) == len(REPORTS)
    for item in items:
        one = task.make(texts, int(item), epoch=1)
        assert one.negatives
        for wrong in one.negatives:
            assert wrong != one.positive
            assert labeler.label(wrong) != labeler.label(one.positive)


def test_mined_negatives_are_other_reports_with_other_findings(texts):
    task = MinedNegatives(query="findings", positive="impression", candidates=3, pool=5)
    for item in task.items(texts, ROWS):
        one = task.make(texts, int(item), epoch=0)
        (negative,) = one.negatives
        assert negative in [impression for _, impression in REPORTS]
        assert label_set(negative) != label_set(one.positive)


def test_external_triplets(texts, tmp_path):
    path = tmp_path / "made.jsonl"
    lines = [
        {"dataset": "made", "study": "s1", "query": "clear lungs", "positive": "normal", "negative": "effusion"},
        {"dataset": "made", "study": "s4", "query": "effusion right", "positive": "right effusion"},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    task = ExternalTriplets(instruction="Find.", negatives=1, file=str(path))
    assert task.items(texts, ROWS).tolist() == [0, 1]
    # Of reports of another split no line is used.
    assert ExternalTriplets(file=str(path)).items(texts, np.array([0, 4])).tolist() == [1]
    assert task.make(texts, 0, 5).negatives == ("effusion",)
    assert task.make(texts, 1, 5).row == 4


def test_negatives_of_a_file_are_used_unless_left_out(texts, tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text(PAIR % ("a", "b") + "\n" + PAIR % ("a", 'b", "negative": "c'))
    found = {}
    for negatives in (None, 0, 1):
        task = ExternalTriplets(negatives=negatives, file=str(path))
        task.items(texts, ROWS)
        found[negatives] = (task.hard_negatives, [task.make(texts, item, 0).negatives for item in range(2)])
    assert found[None] == found[1] == (1, [(), ("c",)])
    assert found[0] == (0, [(), ()])
    path.write_text(PAIR % ("a", "b"))
    for negatives in (None, 0):
        task = ExternalTriplets(negatives=negatives, file=str(path))
        task.items(texts, ROWS)
        assert task.hard_negatives == 0
    with pytest.raises(DataError, match="no line has a negative"):
        ExternalTriplets(negatives=1, file=str(path)).items(texts, ROWS)


def test_lines_of_a_file_change_places_by_chance(texts, tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(PAIR % (f"a{n}", f"b{n}") for n in range(40)))
    task = ExternalTriplets(file=str(path), swap=0.5)
    swapped = [task.make(texts, int(item), 0).query.startswith("b") for item in task.items(texts, ROWS)]
    assert 8 < sum(swapped) < 32
    assert swapped != [task.make(texts, item, 1).query.startswith("b") for item in range(40)]


def test_a_line_ends_at_a_line_feed_alone(texts, tmp_path):
    path = tmp_path / "made.jsonl"
    query = "one\u2028two\u0085three"
    path.write_bytes(b"\xef\xbb\xbf" + (PAIR % (query, "b") + "\r\n" + PAIR % ("c", "d")).encode())
    task = ExternalTriplets(file=str(path))
    assert task.items(texts, ROWS).tolist() == [0, 1]
    assert task.make(texts, 0, 0).query == query


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: no JSON"),
        ("[]", "a list; expected an object"),
        ('{"dataset": "made", "study": "s1", "query": "a"}', "no positive"),
        ('{"dataset": "made", "study": "s1", "query": "a", "positve": "b"}', "unknown key 'positve'; did you mean"),
        ('{"dataset": "made", "study": "s1", "query": " ", "positive": "b"}', "query is empty"),
        ('{"dataset": "made", "study": "s1", "query": 3, "positive": "b"}', "query is int"),
        (PAIR % ("a", " a "), "query and positive are the same text"),
        (PAIR % ("a", 'b", "negative": "b'), "positive and negative are the same text"),
        (PAIR % ("a", r"b \ud800"), "line 1: positive has half a character"),
        ("", "has no line"),
        (" \n\n", "has no line"),
        (b"\n" + (PAIR % ("\xe4", "b")).encode("latin-1"), "line 2: byte 46 is no UTF-8; save the file as UTF-8"),
        ((PAIR % ("a", "b")).encode("utf-16"), "line 1: byte 1 is no UTF-8"),
        ('{"dataset": "made", "study": "s99", "query": "a", "positive": "b"}', "no study of that name"),
    ],
)
def test_external_lines_that_are_no_triplet(texts, tmp_path, line, message):
    path = tmp_path / "made.jsonl"
    path.write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(DataError, match=message):
        ExternalTriplets(file=str(path)).items(texts, ROWS)


def test_an_external_file_that_is_not_there(texts):
    with pytest.raises(DataError, match=r"there is no file"):
        ExternalTriplets(file="nowhere.jsonl").items(texts, ROWS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SectionPairs(query="finding"), "no report section 'finding'; did you mean"),
        (lambda: SectionPairs(query="findings", positive="findings"), "both the section"),
        (lambda: Rewrites(), "without styles"),
        (lambda: Rewrites(styles={"shufle": 1.0}), "unknown report style 'shufle'"),
        (lambda: Rewrites(styles={"shuffle": 1.0}, swap=2.0), "a chance between 0 and 1"),
        (lambda: ErrorNegatives(kinds=["severty"], styles={"shuffle": 1.0}), "unknown report error 'severty'"),
        (lambda: ErrorNegatives(), "either a section or styles"),
        (lambda: MinedNegatives(candidates=0), "1 <= negatives <= candidates"),
        (lambda: ExternalTriplets(), "without a file"),
        (lambda: ExternalTriplets(file="a", negatives=2), "a line has one at most"),
        (lambda: SectionPairs(negatives=None), "negatives=null for SectionPairs"),
    ],
)
def test_options_that_cannot_be_right(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_item_numbers_run_through_all_tasks(texts):
    tasks = {"pairs": SectionPairs(), "labels": LabelSentences(of="findings")}
    found = Tasks.of(tasks, texts, ROWS)
    every = [found.find(int(number)) for name in tasks for number in found.numbers(name)]
    assert every == [("pairs", row) for row in (0, 1, 2, 4)] + [("labels", row) for row in range(5)]

"""Which reports say nothing, whatever signs they are made of?"""

import pandas as pd
import pytest

from cxrvl.data.reports.table import ReportTable
from cxrvl.data.reports.texts import Reading, Texts

NOTHING = [
    "",
    " ",
    "-",
    "...",
    "___",
    "FINDINGS:\nIMPRESSION:\n",
    "FINDINGS: IMPRESSION:",
    "\u200b\u200d",
    "Impression: .",
    "_" * 49_000,
]
SOMETHING = [
    "Normal.",
    "FINDINGS:\nIMPRESSION: 1",
    "FINDINGS: none",
    "心影不大。",
    "Lungs clear. FINDINGS:",
    "See above -",
]


def texts(reports):
    rows = {"dataset": "a", "study": [str(n) for n in range(len(reports))], "split": "test", "report": reports}
    frame = pd.DataFrame(rows).assign(patient=lambda rows: rows["study"])
    return Texts(ReportTable.build(frame, (), split_name="all", origin="a"), {"a": Reading("both_else_report")}, seed=0)


@pytest.mark.parametrize("report", NOTHING)
def test_reports_that_say_nothing(report):
    assert texts([report]).empty().tolist() == [True]


@pytest.mark.parametrize("report", SOMETHING)
def test_reports_that_say_something(report):
    assert texts([report]).empty().tolist() == [False]


def test_a_word_has_a_letter_or_a_digit():
    one = texts(["Normal .", "Heart normal.", "a - b"])
    assert one.empty(least_words=2).tolist() == [True, False, False]
    assert one.empty(least_words=3).all()

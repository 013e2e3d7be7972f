"""A table of reports without images, read by a mapping of its columns."""

import pandas as pd
import pytest

from cxrvl.data.sources.base import report_table
from cxrvl.data.sources.reports_file import ReportFile
from cxrvl.errors import DataError

COLUMNS = {"study": "accession", "patient": "mrn", "report": "text"}
SPLIT = {"by": "patient", "fractions": {"train": 0.6, "val": 0.2, "test": 0.2}, "seed": 0}


@pytest.fixture
def folder(tmp_path):
    rows = [{"accession": f"a{n}", "mrn": f"m{n // 2}", "text": f"FINDINGS: Number {n}.", "effusion": n % 2, "fold": "train"}
            for n in range(40)]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "reports.csv", index=False)
    return tmp_path


def source(folder, **options):
    return ReportFile(folder, "hospital", "reports.csv", **{"columns": COLUMNS, "split": SPLIT, **options})


def test_reads_reports_and_splits_them_by_patient(folder):
    table = report_table(source(folder))
    assert len(table) == 40
    assert table.sections == ("report",)
    assert table.split_name == "hospital: by patient 0.6/0.2/0.2 seed 0"
    assert set(table.frame["split"]) == {"train", "val", "test"}
    assert (table.frame.groupby("patient")["split"].nunique() == 1).all()
    assert table.frame["report"].iloc[3] == "FINDINGS: Number 3."


def test_reads_labels_and_a_split_of_its_own(folder):
    own = {**COLUMNS, "split": "fold"}
    table = report_table(source(folder, columns=own, split=None, labels={"Effusion": "effusion"}))
    assert table.frame["Effusion"].tolist() == [n % 2 for n in range(40)]
    assert set(table.frame["split"]) == {"train"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"study": "accession", "report": "text"}}, "does not say what the patient is"),
        ({"columns": {"study": "accession", "patient": "mrn"}}, "does not say what the report is"),
        ({"columns": {**COLUMNS, "reprt": "text"}}, "unknown key 'reprt'"),
        ({"columns": {**COLUMNS, "report": "txt"}}, "txt"),
        ({"split": None}, "no split; map columns.split"),
        ({"file": "nothing.csv"}, "no such file"),
    ],
)
def test_what_cannot_be_right(folder, options, message):
    file = options.pop("file", "reports.csv")
    with pytest.raises(DataError, match=message):
        ReportFile(folder, "hospital", file, **{"columns": COLUMNS, "split": SPLIT, **options}).reports()

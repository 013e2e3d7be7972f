"""Whose columns does `cxrvl encode` look for in a new file? Those of the run's own table, where there is one."""

import pytest

from cxrvl.runs.encode import mapping_of, reading_of

TABLE = {"_target_": "ReportFile", "name": "a", "columns": {"study": "accession", "patient": "mrn", "report": "text"}}
OTHER = {"_target_": "ReportFile", "name": "b", "columns": {"study": "id", "patient": "mrn", "findings": "f"}}
A, B = {"study": "accession", "report": "text"}, {"study": "id", "findings": "f"}


def config(source):
    return {"data": {"source": source}}


@pytest.mark.parametrize(
    ("source", "dataset", "expected"),
    [
        (TABLE, None, A),
        ({"_target_": "Phantom"}, None, {}),
        ({"sources": [TABLE, OTHER]}, "b", B),
        ({"sources": [TABLE, OTHER]}, None, {}),
        ({"sources": [TABLE, {**TABLE, "name": "c"}]}, None, A),
        ({"sources": [TABLE, OTHER], "names": ["x", "y"]}, "y", B),
    ],
)
def test_the_mapping_of_a_run(source, dataset, expected):
    assert mapping_of(config(source), dataset) == expected


def test_data_without_a_source_have_no_mapping():
    assert mapping_of({"data": {}}, None) == {}
    assert reading_of({"data": {}}, None).policy == "findings_else_impression"

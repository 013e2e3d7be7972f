"""Are reports of a file read in chunks as a table of them is, and is every fault said before the first chunk?"""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrvl.data.sources.report_columns import parse_columns
from cxrvl.data.sources.report_stream import ReportStream
from cxrvl.errors import DataError

LEARNT = {"study": "accession", "report": "text"}


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(stream, size):
    """Rows, reports and ids of all chunks."""
    chunks = list(stream.chunks(size))
    ids = None if chunks[0].ids is None else [one for chunk in chunks for one in chunk.ids]
    sections = pd.concat([chunk.sections for chunk in chunks])
    return len(chunks), sections.index.tolist(), sections, ids


def test_chunks_of_a_csv_are_the_whole(tmp_path):
    path = written(tmp_path / "a.csv", "study, report \n" + "".join(f'{n},"no {n},\nclear"\n' for n in range(7)))
    stream = ReportStream(path)
    count, rows, sections, ids = read(stream, 3)
    assert (count, rows, stream.rows) == (3, list(range(7)), 7)
    assert ids == [str(n) for n in range(7)]
    assert sections["report"].tolist() == [f"no {n},\nclear" for n in range(7)]
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(ReportStream(packed), 3)[2].equals(sections)


def test_a_parquet_file_is_read_by_row_groups(tmp_path):
    ids = pa.array([10, None, 12, 13, 14], pa.int64())
    table = pa.table({"accession": ids, "text": ["a", "b", None, "d", "e"], "unused": [b"\0"] * 5})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    stream = ReportStream(tmp_path / "a.parquet", learnt=LEARNT)
    _, rows, sections, names = read(stream, 4)
    assert (stream.rows, stream.blank, rows) == (5, 1, [0, 1, 2, 3, 4])
    assert names == ["10", "", "12", "13", "14"]
    assert sections["report"].isna().tolist() == [False, False, True, False, False]
    # A frame whose index pandas kept as a column is read by that column all the same.
    pd.DataFrame({"study": ["x"], "report": ["r"]}).set_index("study").to_parquet(tmp_path / "b.parquet")
    assert read(ReportStream(tmp_path / "b.parquet"), 4)[3] == ["x"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("study,report\na,clear\nb,clear,effusion\n", "row 2: it has more fields than its header (3, not 2)"),
        ("study,report\nx,a,clear\ny,b,clear\n", "row 1: it has more fields than its header (3, not 2)"),
        ("study,report, report\na,clear,not\n", "column 'report' appears twice"),
        ("study,report\na,clear\nb\n", "row 2: it ends after 1 of 2 fields"),
        ('study,report\na,"clear\nb,clear\n', "cannot be read as a table"),
        ("study,report\na,cl\0ear\n", "line 2: a NUL character"),
        (b"study,report\na,\xe9panchement\n", "line 2: cannot be read as UTF-8"),
        ("study,report\n", "holds no report"),
        ("", "no column with report text"),
        ("study;report\na;b\n", "found 'study;report'"),
    ],
)
def test_what_is_wrong_is_said_at_once(tmp_path, content, said):
    with pytest.raises(DataError, match=said.replace("(", r"\(").replace(")", r"\)")):
        ReportStream(written(tmp_path / "a.csv", content))


def test_a_parquet_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a table"):
        ReportStream(written(tmp_path / "a.parquet", "study,report\n"))
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["report", "report "])
    pq.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column 'report' appears twice"):
        ReportStream(tmp_path / "b.parquet")


def test_which_columns_are_read(tmp_path):
    path = written(tmp_path / "a.csv", "accession,id,text,report\nA1,7,mapped,named\n")

    def chosen(**options):
        _, _, sections, ids = read(ReportStream(path, **options), 9)
        return sections.iloc[0].to_dict(), ids

    assert chosen() == ({"report": "named"}, ["7"])
    assert chosen(learnt=LEARNT) == ({"report": "mapped"}, ["A1"])
    assert chosen(learnt=LEARNT, id_column="id") == ({"report": "mapped"}, ["7"])
    # A mapping whose columns the file lacks does not apply; one by hand goes before both.
    assert chosen(learnt={"report": "befund"}) == ({"report": "named"}, ["7"])
    assert chosen(given={"impression": "text"}, learnt=LEARNT) == ({"impression": "mapped"}, ["7"])
    assert chosen(given={"report": "text", "study": "{accession}/{id}"}) == ({"report": "mapped"}, ["A1/7"])
    pattern = {"report": {"column": "text", "pattern": "^ma(.*)"}}
    assert chosen(learnt=pattern)[0] == {"report": "pped"}
    assert str(ReportStream(path, learnt=LEARNT).columns) == (
        "report from column 'text' (the run's data.source.columns); named by column 'accession'"
    )
    other = written(tmp_path / "b.csv", "text\nclear\n")
    assert "no column names the reports" in str(ReportStream(other, given={"report": "text"}).columns)
    for options, said in (
        ({}, "Say which column is what: --columns report=<column>"),
        ({"learnt": {"report": "befund"}}, "the run's own mapping asks for 'befund'"),
        ({"given": {"report": "txt"}}, "there is no column 'txt'; found 'text'; correct --columns"),
        ({"given": {"report": "text", "study": "text"}, "id_column": "text"}, "both name the reports"),
        ({"given": {"report": "{text"}}, "no template"),
    ):
        with pytest.raises(DataError, match=said):
            ReportStream(other, **options)


def test_the_ids(tmp_path):
    path = written(tmp_path / "b.csv", "row,embedding,id,report\n1,2,a,r\n1,2,a,r\n1,2,,r\n1,2, ,r\n1,2,b,r\n1,2,a,r\n")
    stream = ReportStream(path)
    assert (stream.rows, stream.blank, stream.repeated) == (6, 2, 2)
    for name in ("row", "embedding"):
        with pytest.raises(DataError, match="of its own; rename the column"):
            ReportStream(path, id_column=name)
    with pytest.raises(DataError, match="there is no column 'nmu'; found 'row'"):
        ReportStream(path, id_column="nmu")


def test_columns_by_hand():
    assert parse_columns([]) == {}
    assert parse_columns(["report=a=b", "study=c"]) == {"report": "a=b", "study": "c"}
    for words, said in (
        (["report"], "is not one of study, findings"),
        (["raport=text"], "is not one of"),
        (["report="], "with =column behind it"),
        (["report=a", "report=b"], "is said twice"),
        (["study=a"], "names no report text"),
    ):
        with pytest.raises(DataError, match=said):
            parse_columns(words)


def test_memory_holds_a_chunk(tmp_path, monkeypatch):
    """No pass asks the parser for more rows than a chunk."""
    path = written(tmp_path / "a.csv", "report\n" + "clear\n" * 10_000)
    asked = []
    real = ReportStream._csv
    monkeypatch.setattr(ReportStream, "_csv", lambda self, size: (asked.append(len(f)) or f for f in real(self, size)))
    stream = ReportStream(path)
    assert sum(len(chunk.sections) for chunk in stream.chunks(100)) == 10_000
    assert np.max(asked) <= 4096
    assert sum(asked) == 20_000

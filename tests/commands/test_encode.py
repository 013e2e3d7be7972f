"""Does `cxrvl encode` embed a file of reports whole, once, in bounded precision, and lose nothing of what is in its way?"""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from text_chain import vectors_of

from cxrvl.data.sources.report_stream import ReportStream
from cxrvl.errors import RunError
from cxrvl.models.text.rounding import choose_float32_layers, layers_of
from cxrvl.runs.encode import ReportEncoder
from cxrvl.runs.encode_file import encode_file
from cxrvl.runs.store import RunStore


@pytest.mark.slow
def test_reports_are_embedded_and_a_stopped_call_continues(chained, reports, tmp_path, monkeypatch):
    _, run = chained
    path, frame = reports
    encoder, stream = ReportEncoder(run), ReportStream(path)
    whole = encode_file(encoder, stream, tmp_path / "whole.parquet", chunk=1000)
    assert (whole.rows, whole.empty) == (60, 0)
    table = pq.read_table(tmp_path / "whole.parquet")
    assert table["study"].to_pylist() == frame["study"].tolist()
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    assert vectors.shape == (60, 32)

    calls = []
    real = encoder.encode

    def stopping(part, origin):
        calls.append(len(part))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(part, origin)

    monkeypatch.setattr(encoder, "encode", stopping)
    with pytest.raises(KeyboardInterrupt):
        encode_file(encoder, stream, tmp_path / "parts.parquet", chunk=25)
    encode_file(encoder, stream, tmp_path / "parts.parquet", chunk=25)
    assert calls == [25, 25, 10, 10]
    again = pq.read_table(tmp_path / "parts.parquet")
    assert again["row"].to_pylist() == list(range(60))
    np.testing.assert_allclose(np.stack(again["embedding"].to_numpy(zero_copy_only=False)), vectors, atol=1e-5)
    assert not (tmp_path / "parts.parquet.parts").exists()


@pytest.mark.slow
def test_layers_kept_in_float32_stay_those_of_the_first_call(chained, reports, tmp_path, monkeypatch):
    """A call that continues, perhaps on another device, must not embed the rest of a file in another way."""
    _, run = chained
    path, _ = reports
    stream, real = ReportStream(path), ReportEncoder.encode
    stopped = ReportEncoder(run, precision="bf16")
    monkeypatch.setattr(
        stopped, "encode", lambda part, origin: real(stopped, part, origin) if part.index[0] < 30 else 1 / 0
    )
    choose = partial(choose_float32_layers, close=2.0)  # as if nothing but float32 were close enough
    monkeypatch.setattr("cxrvl.runs.encode.choose_float32_layers", choose)
    with pytest.raises(ZeroDivisionError):
        encode_file(stopped, stream, tmp_path / "out.parquet", chunk=30)
    monkeypatch.setattr("cxrvl.runs.encode.choose_float32_layers", lambda *_: 1 / 0)
    encode_file(ReportEncoder(run, precision="bf16"), stream, tmp_path / "out.parquet", chunk=30)
    metadata = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"cxrvl"])
    assert metadata["float32_layers"] == len(layers_of(stopped.task.encoder)) > 0
    encode_file(ReportEncoder(run), stream, tmp_path / "exact.parquet")
    own, exact = vectors_of(tmp_path / "out.parquet"), vectors_of(tmp_path / "exact.parquet")
    np.testing.assert_allclose(own, exact, atol=5e-3)  # the pooling is in bf16


@pytest.mark.slow
def test_which_instructions_encode_refuses(chained, reports, tmp_path):
    cli, run = chained
    out = tmp_path / "out.parquet"
    call = ("encode", str(reports[0]), "--run", run.run_id, "--out", str(out))
    said = cli(*call, "--task", "finding_impression", code=2)
    assert "--task: the run learnt no task 'finding_impression' with an instruction; did you mean" in said
    assert "it learnt findings_impression, abbreviated, errors" in said
    masked = next(other for other in RunStore(cli.runs) if other.config()["name"] == "masked")
    said = cli("encode", str(reports[0]), "--run", masked.run_id, "--out", str(out), "--task", "errors", code=2)
    assert "the run learnt no task with an instruction" in said
    assert "not allowed with argument" in cli(*call, "--task", "errors", "--instruction", "Read.", code=2)
    assert "leave no room for the report" in cli(*call, "--instruction", "Read this. " * 200, code=2)
    assert not out.exists()


@pytest.mark.slow
def test_what_encode_refuses(chained, reports, tmp_path):
    cli, run = chained
    path, _ = reports
    out = ("--run", run.run_id, "--out", str(tmp_path / "out.parquet"))

    def refused(source, *more):
        return cli("encode", str(source), *out, *more, code=2)

    assert "there is no file" in refused(tmp_path / "nowhere.csv")
    frame = pd.read_csv(path, keep_default_na=False)
    frame.loc[7, ["findings", "impression"]] = ""
    frame.to_csv(tmp_path / "empty.csv", index=False)
    assert "row 8: nothing that the run's section policy 'findings_else_impression' asks for" in refused(
        tmp_path / "empty.csv"
    )
    # A refused call leaves nothing that is in the way of the corrected one.
    assert "there is no column 'name'" in refused(path, "--id", "name")
    pd.DataFrame({"text": ["a"]}).to_csv(tmp_path / "other.csv", index=False)
    assert "Say which column is what: --columns report=<column>" in refused(tmp_path / "other.csv")
    said = cli("encode", str(tmp_path / "empty.csv"), *out, "--skip-empty")
    assert "named by column 'study'" in said
    assert "59 report(s) embedded" in said
    assert "1 empty one(s) left out" in said
    # The same call is done already, and says so.
    before = (tmp_path / "out.parquet").stat().st_mtime_ns
    said = cli("encode", str(tmp_path / "empty.csv"), *out, "--skip-empty")
    assert "59 report(s) embedded already by the same call" in said
    assert "1 empty one(s) left out" in said
    assert (tmp_path / "out.parquet").stat().st_mtime_ns == before
    # What cxrvl encode wrote may be written again.
    said = cli("encode", str(tmp_path / "other.csv"), *out, "--columns", "report=text")
    assert "report from column 'text' (--columns); no column names the reports" in said
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["row", "embedding"]


@pytest.mark.slow
def test_a_parquet_file_and_what_its_ids_are(chained, tmp_path):
    cli, run = chained
    ids = ["a", "a", "", None, "b", "a"]
    table = pa.table({"row": ids, "accession": ids, "text": [f"Nodule of {n} mm." for n in range(6)]})
    pq.write_table(table, tmp_path / "reports.parquet", row_group_size=4)
    said = ("encode", str(tmp_path / "reports.parquet"), "--run", run.run_id, "--out", str(tmp_path / "out.parquet"))
    assert "columns row and embedding of its own" in cli(*said, "--id", "row", "--columns", "report=text", code=2)
    done = cli(*said, "--columns", "report=text", "study=accession")
    assert "2 report(s) have no id, and 2 have the id of an earlier one" in done
    written = pq.read_table(tmp_path / "out.parquet")
    assert written["study"].to_pylist() == ["a", "a", "", "", "b", "a"]
    assert written["row"].to_pylist() == list(range(6))
    assert len(np.unique(vectors_of(tmp_path / "out.parquet"), axis=0)) == 6


@pytest.mark.slow
def test_encode_does_not_write_over_what_is_not_its_own(chained, reports, tmp_path):
    cli, run = chained
    path, _ = reports
    before = path.read_bytes()
    (tmp_path / "link.csv").symlink_to(path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "others.parquet")
    named = (("reports.csv", "the file of the reports itself"), ("link.csv", "the file of the reports itself"),
             ("others.parquet", "was not written by cxrvl encode"))  # fmt: skip
    for name, said in named:
        assert said in cli("encode", str(path), "--run", run.run_id, "--out", str(tmp_path / name), code=2)
    (tmp_path / "b.csv").write_bytes(before)
    assert "was not written by" in cli(
        "encode", str(path), "--run", run.run_id, "--out", str(tmp_path / "b.csv"), code=2
    )
    assert path.read_bytes() == (tmp_path / "b.csv").read_bytes() == before
    assert pq.read_table(tmp_path / "others.parquet").column_names == ["a"]
    # Nor over parts that are another call's, or a folder that holds no parts.
    (tmp_path / "x.parquet.parts").mkdir()
    (tmp_path / "x.parquet.parts/kept").write_text("a")
    out = ("--run", run.run_id, "--out", str(tmp_path / "x.parquet"))
    assert "is not a folder of cxrvl encode" in cli("encode", str(path), *out, code=2)
    assert (tmp_path / "x.parquet.parts/kept").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "empty", "spoilt inside", "of other rows", "of another width"])
def test_damaged_parts_are_made_again(damage, chained, reports, tmp_path, caplog):
    _, run = chained
    path, _ = reports
    encoder, stream, out = ReportEncoder(run), ReportStream(path), tmp_path / "out.parquet"
    real, parts = encoder.encode, tmp_path / "out.parquet.parts"
    encoder.encode = lambda part, origin: real(part, origin) if part.index[0] < 40 else 1 / 0
    with pytest.raises(ZeroDivisionError):
        encode_file(encoder, stream, out, chunk=20)
    encoder.encode = real
    first, second = parts / "000000.parquet", parts / "000001.parquet"
    content = first.read_bytes()
    if damage == "cut":
        first.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        first.write_bytes(b"")
    elif damage == "spoilt inside":
        first.write_bytes(content[:8] + bytes(200) + content[208:])
    elif damage == "of other rows":
        first.write_bytes(second.read_bytes())
    else:
        table = pq.read_table(first)
        narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(60, np.float32)), 3)
        pq.write_table(table.set_column(table.column_names.index("embedding"), "embedding", narrow), first)
    (parts / "000009.parquet").write_bytes(second.read_bytes())  # no part of this file
    encode_file(encoder, stream, out, chunk=20)
    assert caplog.text.count("are embedded again") == 1
    encode_file(encoder, stream, tmp_path / "whole.parquet", chunk=20)
    assert pq.read_table(out)["row"].to_pylist() == list(range(60))
    np.testing.assert_array_equal(vectors_of(out), vectors_of(tmp_path / "whole.parquet"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.parquet", "reports.csv", "whole.parquet"]


@pytest.mark.slow
def test_two_calls_write_one_after_the_other(chained, reports, tmp_path, caplog):
    _, run = chained
    stream, out = ReportStream(reports[0]), tmp_path / "out.parquet"

    def call(encoder):
        return encode_file(encoder, stream, out, chunk=5)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(call, [ReportEncoder(run), ReportEncoder(run)])
    assert {first.already, second.already} == {True, False}
    assert first.rows == second.rows == pq.read_metadata(out).num_rows == 60
    assert f"another call writes {out}: waiting for it" in caplog.text
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.parquet", "reports.csv"]


@pytest.mark.slow
def test_notes_of_an_earlier_call_that_cannot_be_are_refused(chained, reports, tmp_path):
    _, run = chained
    path, _ = reports
    parts = tmp_path / "out.parquet.parts"
    rounded = ReportEncoder(run, precision="bf16")
    rounded.encode = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        encode_file(rounded, ReportStream(path), tmp_path / "out.parquet")
    about = json.loads((parts / "about.json").read_text())
    for wrong in ("two", True, -1, 99, None):
        (parts / "about.json").write_text(json.dumps({**about, "float32_layers": wrong}))
        with pytest.raises(RunError, match=f"{wrong!r} layers in float32, expected 0 to"):
            encode_file(ReportEncoder(run, precision="bf16"), ReportStream(path), tmp_path / "out.parquet")


@pytest.mark.slow
def test_reports_from_all_over_a_file_settle_what_is_in_float32(chained, reports, tmp_path, monkeypatch):
    _, run = chained
    path, frame = reports
    seen = []

    def choose(kept, encoder, texts, bodies):
        seen.extend(texts)
        return choose_float32_layers(kept, encoder, texts, bodies)

    monkeypatch.setattr("cxrvl.runs.encode.choose_float32_layers", choose)
    encode_file(ReportEncoder(run, precision="bf16"), ReportStream(path), tmp_path / "out.parquet", chunk=7)
    assert len(seen) == 60
    # The first ones say nothing: they settle nothing.
    frame.loc[:29, ["findings", "impression"]] = ""
    frame[["study", "findings", "impression"]].to_csv(tmp_path / "late.csv", index=False)
    seen.clear()
    late = ReportStream(tmp_path / "late.csv")
    done = encode_file(ReportEncoder(run, precision="bf16"), late, tmp_path / "late.parquet", skip_empty=True, chunk=7)
    assert (len(seen), done.rows, done.empty) == (30, 30, 30)


@pytest.mark.slow
def test_an_encoder_gone_astray_writes_nothing(chained, reports, tmp_path):
    _, run = chained
    encoder = ReportEncoder(run)
    with torch.no_grad():
        next(encoder.task.encoder.pooling.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="an embedding that is zero or no number"):
        encode_file(encoder, ReportStream(reports[0]), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.slow
def test_reports_that_are_cut_are_counted(chained, tmp_path):
    cli, run = chained
    pd.DataFrame({"report": ["Clear lungs. " * 400, "Nodule. " * 900, "Clear."]}).to_csv(tmp_path / "long.csv")
    for precision in ("fp32", "bf16"):
        said = cli("encode", str(tmp_path / "long.csv"), "--run", run.run_id, "--out", str(tmp_path / "out.parquet"),
                   "--precision", precision)  # fmt: skip
        assert "3 report(s) embedded" in said
        assert "2 different text(s) cut at 160 tokens" in said


@pytest.mark.slow
def test_parts_of_another_call_are_kept(chained, reports, tmp_path, monkeypatch):
    _, run = chained
    path, _ = reports
    encoder, stream, real = ReportEncoder(run), ReportStream(path), ReportEncoder.encode
    monkeypatch.setattr(
        encoder, "encode", lambda part, origin: real(encoder, part, origin) if part.index[0] < 30 else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        encode_file(encoder, stream, tmp_path / "out.parquet", chunk=30)
    with pytest.raises(RunError, match="holds the parts of another call"):
        encode_file(ReportEncoder(run, precision="bf16"), stream, tmp_path / "out.parquet", chunk=30)
    (tmp_path / "out.parquet.parts/000000.parquet").unlink()
    assert encode_file(ReportEncoder(run, precision="bf16"), stream, tmp_path / "out.parquet", chunk=30).rows == 60

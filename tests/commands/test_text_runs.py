"""A text run as a user makes it: two stages, every evaluation, new reports embedded, the folder others open."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from text_chain import EVALUATIONS, SMALL, vectors_of

from cxrvl.data.reports.texts import Texts
from cxrvl.data.sources.base import report_table
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.sources.report_stream import ReportStream
from cxrvl.evaluation.predictions import read_predictions
from cxrvl.runs.encode import ReportEncoder
from cxrvl.runs.encode_file import encode_file


@pytest.mark.slow
def test_every_evaluation_is_made(chained):
    _, run = chained
    metrics = json.loads((run.folder / "metrics.json").read_text())
    values = {entry["name"]: entry["values"] for entry in metrics.values()}
    assert set(values) == set(EVALUATIONS)
    for name in ("retrieval", "styles", "noise"):
        assert 0 < values[name]["mean"]["recall_at_10"] <= 1
    assert values["probe"]["mean"]["auroc"] > values["few_shot"]["mean"]["auroc"] - 0.2


@pytest.mark.slow
def test_the_checkpoint_holds_adapters_and_pooling_and_a_hash_of_the_rest(chained):
    _, run = chained
    state = torch.load(run.checkpoints / "final.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in state} == {"body", "pooling"}
    body = [name for name in state if name.startswith("model.body.")]
    assert all("lora_" in name or name.endswith("fingerprint") for name in body)
    # Which weights those adapters stand on is a run's record, too; a commit have those of a hub alone.
    sha256 = bytes(state["model.body.fingerprint"].tolist()).hex()
    recorded = json.loads((run.folder / "environment.json").read_text())
    assert recorded["bases"] == {"model.body": {"sha256": sha256, "commit": None}}
    assert {"packages", "data", "command"} <= set(recorded)


@pytest.fixture(scope="module")
def folder(chained, tmp_path_factory):
    pytest.importorskip("sentence_transformers")
    cli, run = chained
    path = tmp_path_factory.mktemp("exported") / "folder"
    cli("export", "--run", run.run_id, "--out", str(path))
    return path


@pytest.fixture
def exported(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")


@pytest.mark.slow
def test_an_export_gives_the_same_embeddings(chained, reports, exported, tmp_path):
    """Also of texts that hold the tokenizer's special tokens, and of a run that was trained in bfloat16."""
    _, run = chained
    path, frame = reports
    special = " ".join(exported.tokenizer.all_special_tokens)
    assert special
    frame = frame.assign(
        findings=[f"{text} {special} seen" if n % 2 and text else text for n, text in enumerate(frame["findings"])]
    )
    frame[["study", "findings", "impression"]].to_csv(path, index=False)
    # Without cleaning, which would remove some of them.
    encoder = ReportEncoder(run)
    encoder.reading = replace(encoder.reading, cleaning=())
    encode_file(encoder, ReportStream(path), tmp_path / "own.parquet")
    own = vectors_of(tmp_path / "own.parquet")
    texts = [
        findings or impression for findings, impression in zip(frame["findings"], frame["impression"], strict=True)
    ]
    np.testing.assert_allclose(exported.encode(texts), own, atol=1e-5)
    # With the instruction of a task, which is attended to and not pooled.
    instruction = "Retrieve the impression that summarises these findings."
    start = len(instruction) + 1
    with torch.no_grad():
        asked = encoder.task.encoder.encode([f"{instruction} {text}" for text in texts[:9]],
                                            torch.tensor([[start, start + len(text)] for text in texts[:9]]))  # fmt: skip
    there = exported.encode(texts[:9], prompt_name="findings_impression")
    np.testing.assert_allclose(there, asked.numpy(), atol=1e-5)
    assert np.abs(there - own[:9]).max() > 1e-3

    rounded = ReportEncoder(run, precision="bf16")
    encode_file(rounded, ReportStream(path), tmp_path / "rounded.parquet")
    assert 1e-4 < np.abs(vectors_of(tmp_path / "rounded.parquet") - own).max() < 0.1
    metadata = json.loads(pq.read_schema(tmp_path / "rounded.parquet").metadata[b"cxrvl"])
    assert (metadata["precision"], metadata["float32_layers"]) == ("bf16", 0)  # this model needs none


@pytest.mark.slow
def test_reports_are_embedded_behind_an_instruction(chained, reports, exported, tmp_path):
    """By a task's name as the export has it by that name; by text the same; recorded in the file."""
    cli, run = chained
    path, frame = reports
    out = tmp_path / "asked.parquet"
    call = ("encode", str(path), "--run", run.run_id, "--out", str(out))
    instruction = "Retrieve the impression that summarises these findings."
    assert f"instruction before every report: {instruction}" in cli(*call, "--task", "findings_impression")
    by_name = vectors_of(out)
    assert json.loads(pq.read_schema(out).metadata[b"cxrvl"])["instruction"] == instruction
    encoder = ReportEncoder(run)
    texts = Texts(
        report_table(PhantomSource(images=60, seed=5, reports="by_hospital")), {"phantom": encoder.reading}, 0
    )
    plain = [texts.compose(row).text for row in range(len(frame))]
    np.testing.assert_allclose(exported.encode(plain, prompt_name="findings_impression"), by_name, atol=1e-5)
    cli(*call, "--instruction", f" {instruction} ")
    np.testing.assert_array_equal(vectors_of(out), by_name)
    assert "instruction before every report: none" in cli(*call)
    assert np.abs(vectors_of(out) - by_name).max() > 1e-3
    assert json.loads(pq.read_schema(out).metadata[b"cxrvl"])["instruction"] == ""


@pytest.mark.slow
def test_a_run_is_evaluated_with_its_instructions(chained):
    cli, run = chained
    before = set(run.predictions.iterdir())
    asked = ("evaluate", "--run", run.run_id, "evaluation=texts_instructed")
    few = [f"evaluation.{name}.bootstrap=10" for name in EVALUATIONS]
    more = [f"evaluation.{name}_instructed.bootstrap=10" for name in ("retrieval", "styles", "errors")]
    said = cli(*asked, *few, *more, code=2)
    assert "evaluation.styles_instructed.tasks.reworded.query.instruction: the run learnt no task 'reworded'" in said
    left_out = [f"evaluation.styles_instructed.tasks.{name}=null" for name in ("reworded", "shuffled", "partial")]
    cli(*asked, *few, *more, *left_out)
    new = {path.name.partition("-")[0]: path for path in set(run.predictions.iterdir()) - before}
    assert set(new) == {"retrieval_instructed", "styles_instructed", "errors_instructed"}
    (plain,) = run.predictions.glob("retrieval-*.parquet")
    with_, without = (read_predictions(path).frame for path in (new["retrieval_instructed"], plain))
    without = without[without["label"] == "findings_to_impression"].reset_index(drop=True)
    assert with_["study"].tolist() == without["study"].tolist()
    assert (with_["better"] != without["better"]).any()


@pytest.mark.slow
def test_an_export_refuses_what_it_cannot_answer(exported):
    with pytest.raises(ValueError, match="1 of 2 texts say nothing"):
        exported.encode(["The lungs are clear.", ""])
    with pytest.raises(ValueError, match="is none that this model was exported with"):
        exported.encode(["The lungs are clear."], prompt="Say it. ")


@pytest.mark.slow
def test_an_export_says_what_it_is(folder):
    said = (folder / "README.md").read_text()
    assert "embeds the text it is given" in said
    assert "section policy `findings_else_impression`, cleaning characters, " in said
    assert "`findings_impression` (Retrieve the impression that summarises these findings.)" in said


@pytest.mark.slow
def test_where_an_export_is_not_written(chained, tmp_path):
    cli, run = chained
    (tmp_path / "file").write_text("a")
    for out, said in (
        (tmp_path, "is not empty"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file/x", "file is a file"),
    ):
        assert said in cli("export", "--run", run.run_id, "--out", str(out), code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_adapters_do_not_start_from_a_model_without_them(chained):
    cli, run = chained
    said = cli(
        "train", "data=phantom_triplets", "task=contrastive_text", "evaluation=none", "model=text_llama_tiny", *SMALL,
        f"+init_from={{run: '{run.run_id}', parts: [body]}}", code=2,
    )  # fmt: skip
    assert "belongs to another model" in said


@pytest.mark.slow
def test_a_model_is_evaluated_as_it_starts(cli):
    cli(
        "train", "data=phantom_triplets", "task=contrastive_text", "model=text_bert_tiny", *SMALL, "trainer.max_steps=0",
        "evaluation=texts_short", "evaluation.errors.bootstrap=5", "evaluation.styles.bootstrap=5",
    )  # fmt: skip
    run = cli.only_run()
    assert {path.name.split("-")[0] for path in (run / "predictions").iterdir()} == {
        "retrieval",
        "styles",
        "errors",
        "probe",
    }
    assert "nothing to compute" in cli(
        "train", "data=phantom_triplets", "task=contrastive_text", "model=text_bert_tiny", *SMALL, "trainer.max_steps=0",
        "evaluation=texts_short", "evaluation.errors.bootstrap=5", "evaluation.styles.bootstrap=5",
    )  # fmt: skip

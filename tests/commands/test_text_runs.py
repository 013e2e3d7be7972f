"""A text run as a user makes it: two stages, every evaluation, new reports embedded, the folder others open."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from cxrvl.data.sources.base import report_table
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.runs import encode
from cxrvl.runs.store import RunStore

SMALL = (
    "data.source.images=160", "data.batch_size=8", "logger=none", "model.base.sizes.hidden_size=32",
    "model.base.sizes.intermediate_size=64", "trainer.max_epochs=1",
)  # fmt: skip
EVALUATIONS = ("retrieval", "styles", "noise", "errors", "similarity", "probe", "few_shot")


@pytest.fixture(scope="module")
def chained(tmp_path_factory, cli_in):
    """A contrastive run with adapters, started from a masked one."""
    cli = cli_in(tmp_path_factory.mktemp("texts"))
    model = ("model=text_llama_tiny", "model/lora=default", "model.lora.rank=4")
    cli("train", "data=phantom_reports", "task=masked_text", "evaluation=none", *model, *SMALL, "name=masked")
    (masked,) = RunStore(cli.runs)
    few = [f"evaluation.{name}.bootstrap=10" for name in EVALUATIONS]
    tasks = [f"data.tasks.{name}=null" for name in ("reworded", "shuffled", "labels", "mined", "partial")]
    cli(
        "train", "data=phantom_triplets", "task=contrastive_text", "evaluation=texts", *model, *SMALL, *few, *tasks,
        "model/pooling=latent_attention", "model.pooling.latents=8", "model.pooling.heads=4", "name=contrastive",
        f"+init_from={{run: '{masked.run_id}', parts: [body]}}",
    )  # fmt: skip
    (run,) = [run for run in RunStore(cli.runs) if run.run_id != masked.run_id]
    return cli, run


@pytest.fixture
def reports(tmp_path):
    frame = report_table(PhantomSource(images=60, seed=5, reports="by_hospital")).frame
    frame[["study", "findings", "impression"]].to_csv(tmp_path / "reports.csv", index=False)
    return tmp_path / "reports.csv", frame


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


@pytest.mark.slow
def test_reports_are_embedded_and_a_stopped_call_continues(chained, reports, tmp_path, monkeypatch):
    _, run = chained
    path, frame = reports
    encoder = encode.ReportEncoder(run)
    whole = encode.encode_csv(encoder, path, tmp_path / "whole.parquet", None, False, chunk=1000)
    assert (whole.rows, whole.empty) == (60, 0)
    table = pq.read_table(tmp_path / "whole.parquet")
    assert table["study"].to_pylist() == frame["study"].tolist()
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    assert vectors.shape == (60, 32)

    calls = []
    real = encoder.encode

    def stopping(part):
        calls.append(len(part))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(part)

    monkeypatch.setattr(encoder, "encode", stopping)
    with pytest.raises(KeyboardInterrupt):
        encode.encode_csv(encoder, path, tmp_path / "parts.parquet", None, False, chunk=25)
    encode.encode_csv(encoder, path, tmp_path / "parts.parquet", None, False, chunk=25)
    assert calls == [25, 25, 10, 10]
    again = pq.read_table(tmp_path / "parts.parquet")
    assert again["row"].to_pylist() == list(range(60))
    np.testing.assert_allclose(np.stack(again["embedding"].to_numpy(zero_copy_only=False)), vectors, atol=1e-5)
    assert not (tmp_path / "parts.parquet.parts").exists()


@pytest.mark.slow
def test_an_export_gives_the_same_embeddings(chained, reports, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    cli, run = chained
    path, frame = reports
    cli("export", "--run", run.run_id, "--out", str(tmp_path / "folder"))
    cli("encode", str(path), "--run", run.run_id, "--out", str(tmp_path / "own.parquet"))
    own = np.stack(pq.read_table(tmp_path / "own.parquet")["embedding"].to_numpy(zero_copy_only=False))
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "folder"), trust_remote_code=True, device="cpu")
    texts = [
        findings or impression for findings, impression in zip(frame["findings"], frame["impression"], strict=True)
    ]
    np.testing.assert_allclose(model.encode(texts), own, atol=1e-5)
    # With the instruction of a task, which is attended to and not pooled.
    instruction = "Retrieve the impression that summarises these findings."
    encoder = encode.ReportEncoder(run).task.encoder
    start = len(instruction) + 1
    with torch.no_grad():
        asked = encoder.encode([f"{instruction} {text}" for text in texts[:9]],
                               torch.tensor([[start, start + len(text)] for text in texts[:9]]))  # fmt: skip
    there = model.encode(texts[:9], prompt_name="findings_impression")
    np.testing.assert_allclose(there, asked.numpy(), atol=1e-5)
    assert np.abs(there - own[:9]).max() > 1e-3
    out = cli("export", "--run", run.run_id, "--out", str(tmp_path / "folder"), code=2)
    assert "is not empty" in out


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
    assert "line 9: nothing that the run's section policy 'findings_else_impression' asks for" in refused(
        tmp_path / "empty.csv"
    )
    assert "holds the parts of another call" in refused(path)
    shutil.rmtree(tmp_path / "out.parquet.parts")
    assert "there is no column 'name'" in refused(path, "--id", "name")
    shutil.rmtree(tmp_path / "out.parquet.parts")
    pd.DataFrame({"text": ["a"]}).to_csv(tmp_path / "other.csv", index=False)
    assert "no column with report text; found text" in refused(tmp_path / "other.csv")
    shutil.rmtree(tmp_path / "out.parquet.parts")
    said = cli("encode", str(tmp_path / "empty.csv"), *out, "--skip-empty")
    assert "59 report(s) embedded" in said
    assert "1 empty one(s) left out" in said


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

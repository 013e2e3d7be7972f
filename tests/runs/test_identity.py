"""A run's id follows from what its result depends on, and from nothing else."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cxrvl.config.compose import compose_config, hydra_session, resolved
from cxrvl.errors import RunError
from cxrvl.files import write_yaml
from cxrvl.runs import identity
from cxrvl.runs.evaluations import check_trained, planned
from cxrvl.runs.identity import digest, identify, science
from cxrvl.runs.store import RunStore

PHANTOM = ("experiment=phantom/acm", "data.source.images=60", "data.store.size=32")


def config_of(*overrides):
    return resolved(compose_config(overrides))


@pytest.fixture(autouse=True)
def fresh():
    """Each test as a process of its own: tables are read once per process."""
    identity._study_table.cache_clear()
    with hydra_session():
        yield


@pytest.fixture(scope="module")
def phantom():
    return identify(config_of(*PHANTOM)).run_id


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=2",
        "trainer.accelerator=cpu",
        "trainer.num_nodes=2",
        "trainer.strategy=ddp",
        "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false",
        "trainer.profiler=simple",
        "+data.num_workers=7",
        "+data.prepare_workers=1",
        "+data.evaluation_batch_size=3",
        "+data.pin_memory=true",
        "paths.runs=/elsewhere",
        "paths.stores=/elsewhere",
        "paths.data=/elsewhere",
        "paths.tables=/elsewhere",
        "logger=wandb",
        "name=other",
        "checkpoint.every_seconds=1",
        "checkpoint.use=final",
        "data.source.shareable=false",
        "tracking.pictures_every=1",
        "tracking.pictures=2",
        "evaluation=none",
        "evaluation.findings.bootstrap=7",
    ],
)
def test_where_and_on_what_a_run_is_computed_is_not_its_identity(phantom, override):
    assert identify(config_of(*PHANTOM, override)).run_id == phantom


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "trainer.accumulate_grad_batches=2",
        "threads=2",
        "task.optimizer.lr=0.01",
        "task.orthogonality=0.2",
        "task.scheduler.warmup=0.2",
        "model.groups=4",
        "model/context=se",
        "trainer.max_epochs=2",
        "trainer.precision=bf16-mixed",
        "trainer.gradient_clip_val=1",
        "+trainer.gradient_clip_val=2",
        "data.batch_size=16",
        "data.source.images=61",
        "data.source.seed=8",
        "data.labels=[Effusion,Nodule]",
        "data.labels=[Cardiomegaly,Atelectasis,Consolidation,Effusion,Nodule,Pneumothorax]",
        "data.store.size=48",
        "data.store.bits=16",
        "+data.limit=10",
        "+data.drop_last=false",
        "data.transforms.train.steps.1.degrees=3",
        "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/auroc}",
    ],
)
def test_what_changes_the_result_changes_the_id(phantom, override):
    assert identify(config_of(*PHANTOM, override)).run_id != phantom


def test_the_science_version_is_part_of_the_id(phantom, monkeypatch):
    monkeypatch.setattr(identity, "SCIENCE_VERSION", 999)
    assert identify(config_of(*PHANTOM)).run_id != phantom


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    assert digest({"a": 1}) != digest({"a": "1"})


def test_an_id_is_the_same_in_every_process(phantom):
    """Nothing of this process enters it: hashes of strings, say, differ from process to process."""
    import subprocess
    import sys

    code = (
        "from cxrvl.config.compose import compose_config, resolved; from cxrvl.runs.identity import identify; "
        f"print(identify(resolved(compose_config({list(PHANTOM)}))).run_id)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "CXRVL_RUNS": "/elsewhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == phantom


# Files.


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "one"
    (root / "img").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "img" / f"{number}.png")
    frame = pd.DataFrame({"file": [f"img/{n}.png" for n in range(6)], "patient": list("aabbcc")})
    frame["split"] = ["train"] * 2 + ["val"] * 2 + ["test"] * 2
    frame["A"] = [0, 1] * 3
    frame.to_csv(root / "table.csv", index=False)
    return root


def files_id(root, *overrides):
    identity._study_table.cache_clear()
    return identify(
        config_of(
            "data=manifest",
            "name=tiny",
            f"data.root={root}",
            "data.source.name=tiny",
            "data.source.file=table.csv",
            "data.source.columns={image: file, patient: patient, split: split}",
            "data.source.labels=[A]",
            "data.labels=[A]",
            "data.source.split=null",
            *overrides,
        )
    ).run_id


def test_a_data_set_may_move(folder, tmp_path):
    before = files_id(folder)
    moved = shutil.copytree(folder, tmp_path / "another" / "place")
    assert files_id(moved) == before
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    assert files_id(moved) == before, "times of files are not their content"


def change(folder, row, column, value):
    frame = pd.read_csv(folder / "table.csv").astype(object)
    frame.loc[row, column] = value
    frame.to_csv(folder / "table.csv", index=False)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: change(folder, 0, "A", 1),
        lambda folder: change(folder, 0, "A", ""),
        lambda folder: change(folder, slice(0, 1), "split", "test"),
        lambda folder: change(folder, 0, "patient", "z"),
        lambda folder: (folder / "img" / "0.png").write_bytes((folder / "img" / "0.png").read_bytes() + b"more"),
    ],
    ids=["a label", "a label no longer stated", "the split", "a patient", "an image file"],
)
def test_other_content_is_another_run(folder, spoil):
    before = files_id(folder)
    spoil(folder)
    assert files_id(folder) != before


def test_rows_in_another_order_are_another_run(folder):
    """Images are shuffled and augmented by row number: the same rows in another order train another network."""
    before = files_id(folder)
    frame = pd.read_csv(folder / "table.csv")
    frame.iloc[::-1].to_csv(folder / "table.csv", index=False)
    assert files_id(folder) != before


# Weights.


def test_weights_count_by_content_not_by_place(tmp_path, phantom):
    def identified(path, value, key="init_from"):
        torch.save({"state_dict": {"w": torch.full((3,), value)}}, path)
        override = f"init_from={{file: {path}}}" if key == "init_from" else f"model.backbone.weights={path}"
        return identify(config_of(*PHANTOM, override if key == "init_from" else f"++{override}")).run_id

    for key in ("init_from", "weights"):
        first = identified(tmp_path / "a.ckpt", 1.0, key)
        assert first != phantom
        (tmp_path / "deep").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "a.ckpt", tmp_path / "deep" / "b.ckpt")
        path = tmp_path / "deep" / "b.ckpt"
        override = f"init_from={{file: {path}}}" if key == "init_from" else f"++model.backbone.weights={path}"
        assert identify(config_of(*PHANTOM, override)).run_id == first
        assert identified(tmp_path / "a.ckpt", 2.0, key) != first


def test_a_file_in_the_home_counts_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "made.jsonl").write_text("one")
    by_home, by_path = (identity._with_content({"file": f"{place}/made.jsonl"}) for place in ("~", tmp_path))
    assert by_home == by_path
    assert by_home["file"].startswith("sha256:")
    (tmp_path / "made.jsonl").write_text("another")
    assert identity._with_content({"file": "~/made.jsonl"}) != by_home
    for nothing in ("~/none.jsonl", "~nobody-here/made.jsonl"):
        assert identity._with_content({"file": nothing}) == {"file": nothing}


def test_science_is_plain_and_holds_no_path(tmp_path):
    text = json.dumps(science(config_of(*PHANTOM, f"paths.runs={tmp_path}", f"paths.stores={tmp_path}")))
    assert str(tmp_path) not in text
    assert "store_root" not in text


# Evaluations.


def evaluations(tmp_path, *overrides):
    config = config_of(*PHANTOM, *overrides)
    return {e.name: e.eval_id for e in planned(RunStore(tmp_path).run("abc"), config)}


def test_an_evaluation_has_an_id_of_its_own(tmp_path):
    before = evaluations(tmp_path)
    assert set(before) == {"findings", "marks"}
    assert evaluations(tmp_path, "evaluation.findings.bootstrap=3", "evaluation.marks.seed=4") == before
    assert evaluations(tmp_path, "evaluation=findings") == {"findings": before["findings"]}
    assert evaluations(tmp_path, "+evaluation.more=null") == before
    for override in ("checkpoint.use=final", "data.source.seed=9", "data.transforms.evaluate.steps.0.size=16"):
        after = evaluations(tmp_path, override)
        assert not set(after.values()) & set(before.values()), override
    more = evaluations(tmp_path, "evaluation.marks.max_marks=1")
    assert more["findings"] == before["findings"]
    assert more["marks"] != before["marks"]


PAIRS = ("data=phantom_pairs", "task=dual_tower", "model=dual_tiny", "evaluation=dual", "data.source.images=60")


def dual_evaluations(tmp_path, *overrides):
    return {e.name: e.eval_id for e in planned(RunStore(tmp_path).run("abc"), config_of(*PAIRS, *overrides))}


def test_which_training_reports_are_left_out_is_part_of_an_evaluation(tmp_path):
    """A probe is fitted on the training split, and reports may be retrieved from it."""
    before = dual_evaluations(tmp_path)
    assert dual_evaluations(tmp_path, "data.impression_only=late", "data.late_epochs=2") == before
    after = dual_evaluations(tmp_path, "data.impression_only=leave_out")
    assert not set(after.values()) & set(before.values())


def test_prompts_have_the_instruction_that_reports_have(tmp_path):
    said = "data.text.default.instruction=Find the image of this report."
    assert config_of(*PAIRS)["evaluation"]["zero_shot"]["instruction"] == ""
    assert config_of(*PAIRS, said)["evaluation"]["zero_shot"]["instruction"] == "Find the image of this report."
    assert config_of("evaluation=dual_images", "data=phantom")["evaluation"]["zero_shot"]["instruction"] == ""


def trained(tmp_path, config):
    run = RunStore(tmp_path).run("abc")
    run.folder.mkdir(parents=True)
    write_yaml(run.folder / "config.yaml", config)
    return run


def test_outputs_of_one_label_are_never_scored_as_those_of_another(tmp_path):
    """As many labels in another order, or of another data set, fit the network and mean something else."""
    labels = ["Effusion", "Nodule", "Pneumothorax"]
    asked = [*PHANTOM, f"data.labels=[{','.join(labels)}]"]
    run = trained(tmp_path, config_of(*asked))
    check_trained(run, config_of(*asked, "data.source.seed=5"))
    for other in (labels[::-1], ["Effusion", "Nodule", "Atelectasis"]):
        with pytest.raises(RunError, match=r"its outputs stand for these labels in this order"):
            check_trained(run, config_of(*asked[:-1], f"data.labels=[{','.join(other)}]"))


def test_a_model_without_outputs_per_label_is_asked_about_any(tmp_path):
    run = trained(tmp_path, config_of(*PAIRS))
    check_trained(run, config_of(*PAIRS, "data.labels=[Nodule,Effusion]"))

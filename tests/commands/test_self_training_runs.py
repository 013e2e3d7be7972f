"""A generation of self-training as a user runs it: made with what it starts from, killed and continued, asked about new files."""

import io
import signal
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.evaluation.predictions import probabilities, read_predictions

SIZE = 32
GENERATION = (
    "train", "experiment=phantom/distl_t1", "data.source.images=160", f"data.store.size={SIZE}", "data.batch_size=8",
    "data.labelled_batch_size=4", "model.feature_head.prototypes=32", "model.feature_head.hidden=16",
    "trainer.max_epochs=12", "trainer.accelerator=cpu", "tracking.pictures_every=null", "evaluation.findings.bootstrap=20",
    "evaluation.teacher.bootstrap=20", "checkpoint.every_steps=1", "trainer.log_every_n_steps=1", "logger=none",
)  # fmt: skip


def predictions(folder):
    return {path.name: read_predictions(path).frame for path in sorted((folder / "predictions").glob("*.parquet"))}


@pytest.fixture(scope="module")
def generation(tmp_path_factory, cli_in):
    """One finished generation of a few steps that starts from nothing."""
    cli = cli_in(tmp_path_factory.mktemp("generation"))
    cli(*GENERATION, "init_from=null")
    return cli


def test_a_generation_killed_and_continued_gives_the_same_predictions(generation, cli):
    undisturbed = generation.only_run()
    command = (*GENERATION, "init_from=null", f"paths.stores={generation.folder}/stores")
    process = cli.start(*command)
    folder, deadline = cli.runs / undisturbed.name, time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        history = folder / "history.jsonl"
        if history.is_file() and len(history.read_text().splitlines()) >= 5:
            break
        time.sleep(0.005)
    assert process.poll() is None, f"ended before it was killed: {process.communicate()}"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "checkpoints/final.ckpt").is_file()
    assert "is done" in cli(*command)
    assert "continued from last.ckpt" in (folder / "train.log").read_text()
    ours, theirs = predictions(folder), predictions(undisturbed)
    assert {name.partition("-")[0] for name in theirs} == {"findings", "teacher"}
    assert ours.keys() == theirs.keys()
    for name, frame in theirs.items():
        assert ours[name].equals(frame), name


def test_new_files_get_the_student_s_numbers_and_no_maps(generation, tmp_path):
    folder = generation.only_run()
    frame = next(frame for name, frame in predictions(folder).items() if name.startswith("findings"))
    frame = frame[frame["split"] == "test"].head(3)
    labels = [column.removeprefix("logit/") for column in frame if column.startswith("logit/")]
    expected = probabilities(frame[[f"logit/{label}" for label in labels]].to_numpy())
    files = []
    for number, image in enumerate(PhantomSource(images=160, seed=7, size=SIZE).read_many(frame["image"].tolist())):
        files.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(files[-1])
    said = pd.read_csv(io.StringIO(generation("predict", "--run", folder.name, *files)))
    assert list(said) == ["file", *labels]
    np.testing.assert_allclose(said[labels], expected, atol=1e-4)
    told = generation("predict", "--run", folder.name, *files, "--maps", str(tmp_path / "maps"), code=2)
    assert "the run's network has no class maps, so there is nothing to overlay; leave --maps out" in told


def test_a_teacher_that_is_not_there_is_said_before_training(cli):
    told = cli.train("+evaluation.findings.output=teacher_logits", code=2)
    assert "evaluation.findings.output is 'teacher_logits', which Classification does not give; it gives logits" in told
    assert not list(cli.runs.glob("*/checkpoints/*.ckpt"))

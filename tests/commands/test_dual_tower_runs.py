"""A dual tower as a user makes it: reports first, then pairs, from one command; killed and resumed; with stored features."""

import re

import pytest
import torch

from cxrvl.runs.lineage import record
from cxrvl.runs.store import RunStore

SMALL = (
    "data.source.images=160", "data.batch_size=8", "logger=none", "trainer.max_epochs=2", "data.store.size=32",
    "model.text_tower.base.sizes.hidden_size=32", "model.text_tower.base.sizes.intermediate_size=64", "model.dim=16",
)  # fmt: skip
TEXT = (
    "data=phantom_triplets", "task=contrastive_text", "evaluation=none", "model=text_llama_tiny", "name=texts",
    "data.source.images=160", "data.batch_size=8", "trainer.max_epochs=1", "model.base.sizes.hidden_size=32",
    "model.base.sizes.intermediate_size=64", *(f"data.tasks.{name}=null" for name in (
        "reworded", "shuffled", "labels", "mined", "partial")),
)  # fmt: skip
DISTL = (
    "data=phantom_self_training", "task=self_training", "model=distl_resnet10_narrow", "evaluation=none", "name=distl",
    "data.source.images=160", "data.store.size=32", "data.batch_size=8", "data.labelled_batch_size=4",
    "data.label_fraction=0.3", "task.views.groups.local.count=2", "model.feature_head.prototypes=32",
    "model.feature_head.hidden=16", "model.class_head.hidden=16", "trainer.max_epochs=1",
    "tracking.pictures_every=null",
)  # fmt: skip
DUAL = ("data=phantom_pairs", "task=dual_tower", "model=dual_tiny", "evaluation=none")


def chained():
    words = ", ".join(f"'{word}'" for word in TEXT)
    return f"+init_from={{run: [{words}], parts: {{text_tower: encoder}}}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cli_in):
    """Text adaptation and a dual tower on its frozen result, made by one command."""
    cli = cli_in(tmp_path_factory.mktemp("pairs"))
    said = cli(
        "train", *DUAL, *SMALL, "name=pairs", "model.freeze=[text_tower]", "data.text.default.variants=2", chained()
    )
    found = {run.config()["name"]: run for run in RunStore(cli.runs)}
    return cli, found, said


@pytest.mark.slow
def test_one_command_makes_the_chain(runs):
    _, found, _ = runs
    assert set(found) == {"texts", "pairs"}
    assert all(run.state() == "done" for run in found.values())
    texts = torch.load(found["texts"].checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    pairs = torch.load(found["pairs"].checkpoints / "final.ckpt", weights_only=True)
    for key, value in texts.items():
        torch.testing.assert_close(pairs["state_dict"][key.replace("model.", "model.text_tower.", 1)], value)
    assert set(pairs["parts"]) == {"image_tower", "text_tower", "image_projection", "text_projection"}


@pytest.mark.slow
def test_the_frozen_tower_is_stored_and_said_to_be(runs):
    cli, found, _ = runs
    log = (found["pairs"].folder / "train.log").read_text()
    assert "image_tower: computed in every step, since it learns" in log
    assert re.search(r"text_tower: never learns, its features are stored in .* \(0 there\)", log)
    (store,) = cli.folder.rglob("text_tower-*/keys.bin")
    assert store.stat().st_size % 32 == 0


@pytest.mark.slow
def test_an_image_tower_starts_from_a_classifier(runs):
    cli, _, _ = runs
    cli(
        "train", "data=phantom", "task=classification", "evaluation=none", "model=resnet10_narrow", "name=labels",
        "data.source.images=160", "data.batch_size=8", "data.store.size=32", "trainer.max_epochs=1", "logger=none",
    )  # fmt: skip
    (labels,) = [run for run in RunStore(cli.runs) if run.config()["name"] == "labels"]
    cli(
        "train", *DUAL, *SMALL, "name=started", "trainer.max_steps=0", "+model.backbone.last_stride=1",
        f"+init_from={{run: '{labels.run_id}', parts: {{image_tower: encoder}}}}",
    )  # fmt: skip
    (started,) = [run for run in RunStore(cli.runs) if run.config()["name"] == "started"]
    theirs = torch.load(labels.checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    mine = torch.load(started.checkpoints / "final.ckpt", weights_only=True)["state_dict"]
    for key in ("conv1.weight", "layer3.0.bn2.running_var"):
        torch.testing.assert_close(mine[f"model.image_tower.backbone.{key}"], theirs[f"model.backbone.{key}"])


@pytest.mark.slow
def test_each_tower_starts_from_a_run_of_its_own(runs):
    """A self-training that is made first gives the image tower, the finished text run the other: to the last bit."""
    cli, found, _ = runs
    words = ", ".join(f"'{word}'" for word in DISTL)
    images = f"{{run: [{words}], use: final, parts: {{image_tower: backbone}}}}"
    texts = f"{{run: '{found['texts'].run_id}', parts: {{text_tower: encoder}}}}"
    asked = (*DUAL, *SMALL, "name=both", "trainer.max_steps=0")
    said = cli("train", *asked, f"+init_from=[{images}, {texts}]")
    named = {run.config()["name"]: run for run in RunStore(cli.runs)}
    both, distl = named["both"], named["distl"]
    assert f"run {both.run_id} (both) starts from run {distl.run_id} (distl), which is made first" in said
    mine = torch.load(both.checkpoints / "final.ckpt", weights_only=True)["state_dict"]
    left = torch.load(distl.checkpoints / "final.ckpt", weights_only=True)["state_dict"]
    words_left = torch.load(found["texts"].checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    expected = {
        **{key.replace("model.encoder.", "model.image_tower."): value
           for key, value in left.items() if key.startswith("model.encoder.backbone.")},
        **{key.replace("model.", "model.text_tower.", 1): value for key, value in words_left.items()},
    }  # fmt: skip
    assert {key for key in mine if key.startswith(("model.image_tower.backbone.", "model.text_tower."))} == set(
        expected
    )
    assert all(torch.equal(mine[key], value) for key, value in expected.items())
    assert {one["run"] for one in record(both)} == {distl.run_id, found["texts"].run_id}
    assert f"run {both.run_id} was done before" in cli("train", *asked, f"+init_from=[{texts}, {images}]")
    tree = cli("runs", "tree", both.run_id)
    assert "took image_tower from backbone · took text_tower from encoder of" in tree
    assert f"started from {distl.run_id} ({both.run_id})" in cli("runs", "rm", distl.run_id, "--yes")
    sound = cli("check", *asked, f"+init_from=[{images}, {texts}]")
    assert f"distl ({distl.run_id}, missing), texts ({found['texts'].run_id}, done)" in sound


@pytest.mark.slow
def test_a_text_tower_of_another_width_is_refused(runs):
    cli, found, _ = runs
    said = cli(
        "train", *DUAL, *SMALL, "name=wider", "model.text_tower.base.sizes.hidden_size=48",
        f"+init_from={{run: '{found['texts'].run_id}', parts: {{text_tower: encoder}}}}", code=2,
    )  # fmt: skip
    assert re.search(r"belongs to another model \(text_tower from encoder\).*of another shape", said), said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("task.chunk=4",), r"normalises by the statistics of its batch"),
        (("trainer.accumulate_grad_batches=2",), "would contrast each part of a batch by itself"),
        (("model=resnet10_narrow",), "needs a dual tower"),
        (("model.similarity=cosin",), "did you mean 'cosine'"),
        (("data.source.reports=none",), "report"),
    ],
)
def test_what_cannot_be_trained_is_refused(cli, words, message):
    small = SMALL if "model=resnet10_narrow" not in words else SMALL[:5]
    said = cli("train", *DUAL, *small, *words, code=2)
    assert re.search(message, said), said
    assert "Traceback" not in said

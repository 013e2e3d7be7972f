"""Is a released DISTL checkpoint read safely, translated with every key accounted for, and can a run start from it?"""

import argparse
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import ConfigError, WeightsError
from cxrvl.interop.distl import read_checkpoint, translate_network
from cxrvl.models.build import self_training
from cxrvl.models.distl_heads import ClassHead, FeatureHead
from cxrvl.models.self_training import SelfTrainingNetwork
from cxrvl.models.vit import Vit
from cxrvl.models.weights import load_weights
from cxrvl.runs.start import read_starts, selected, start_identity
from cxrvl.runs.starting import check_parts, start_from
from cxrvl.tasks import SelfTraining

OFFICIAL = (
    ("encoder.backbone.network.", "backbone."),
    ("feature_head.", "head."),
    ("class_head.", "cls_head."),
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
)


def network(seed: int = 0, layers: int = 3, batch_norm: bool = False, in_channels: int = 3) -> SelfTrainingNetwork:
    torch.manual_seed(seed)
    return self_training(
        partial(Vit, image_size=32, embed_dim=16, depth=2, num_heads=2),
        partial(ClassHead, hidden=12),
        1,
        partial(FeatureHead, hidden=20, bottleneck=8, prototypes=24, layers=layers, batch_norm=batch_norm),
        in_channels,
    ).eval()


def released(model: SelfTrainingNetwork, prefix: str = "") -> dict[str, Tensor]:
    state = {}
    for key, value in model.state_dict().items():
        for ours, theirs in OFFICIAL:
            key = key.replace(ours, theirs)
        state[prefix + key] = value
    return state


def checkpoint(folder: Path, **entries) -> Path:
    path = folder / "checkpoint.pth"
    content = {
        "student": released(network(1), "module."),
        "teacher": released(network(2)),
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 5,
        "args": argparse.Namespace(arch="vit_small", lam=0.5),
        "dino_loss": {"center": torch.randn(1, 24)},
    }
    torch.save({**content, **entries}, path)
    return path


@pytest.mark.parametrize(("layers", "batch_norm"), [(1, False), (3, False), (3, True), (4, False)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_both_networks_load_whole(tmp_path, prefix, layers, batch_norm):
    student, teacher = network(1, layers, batch_norm), network(2, layers, batch_norm)
    states = [
        {key.replace("head.mlp.0.", "head.mlp.") if layers == 1 and ".cls_" not in key and not key.startswith("cls_") else key: v
         for key, v in released(model, prefix).items()}
        for model in (student, teacher)
    ]  # fmt: skip
    read = read_checkpoint(checkpoint(tmp_path, student=states[0], teacher=states[1]))
    views = [torch.rand(2, 1, size, size) for size in (32, 16)]
    for name, theirs in (("student", student), ("teacher", teacher)):
        ours = network(0, layers, batch_norm)
        load_weights(ours, read[name], origin=name)
        for mine, expected in zip(ours.views(views, [0]), theirs.views(views, [0]), strict=True):
            assert torch.equal(mine, expected)
    assert read["centre"]["centre"].shape == (1, 24)


def test_settings_are_let_in_and_code_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return print, ("run",)

    assert set(read_checkpoint(checkpoint(tmp_path))) == {"student", "teacher", "centre"}
    with pytest.raises(WeightsError, match="cannot be read safely"):
        read_checkpoint(checkpoint(tmp_path, args=Attack()))
    with pytest.raises(WeightsError, match="is not a file"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(checkpoint(tmp_path).read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"cut\.pth cannot be read safely"):
        read_checkpoint(tmp_path / "cut.pth")


def test_keys_of_another_layout_are_named(tmp_path):
    state = released(network())
    with pytest.raises(WeightsError, match=r"1 keys are none of the released DISTL code: decoder\.weight"):
        translate_network({**state, "decoder.weight": torch.zeros(1)}, "x")
    with pytest.raises(WeightsError, match=r"only some keys start with 'module\.'"):
        translate_network({**state, "module.head.mlp.0.bias": torch.zeros(1)}, "x")
    torch.save({"state_dict": state}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="has the entries state_dict"):
        read_checkpoint(tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"holds \['centre'\]; expected center"):
        read_checkpoint(checkpoint(tmp_path, dino_loss={"centre": torch.zeros(1)}))
    missing = {key: value for key, value in state.items() if key != "head.last_layer.weight_g"}
    with pytest.raises(WeightsError, match=r"1 missing: feature_head\.last_layer\.parametrizations\.weight\.original0"):
        load_weights(network(), translate_network(missing, "x"), origin="x")


def learner(model: SelfTrainingNetwork) -> SelfTraining:
    """The self-training task around a network."""
    config = resolved(compose_config(["data=phantom_self_training", "model=distl_vit_micro", "task=self_training"]))
    return build({**config["task"], "dino": {**config["task"]["dino"], "prototypes": 24}})(model=model)


def starting(path: Path, **more) -> dict:
    return {"init_from": {"file": str(path), **more}, "task": {"_target_": "cxrvl.tasks.SelfTraining"}}


def test_a_run_starts_from_all_of_it(tmp_path):
    path = checkpoint(tmp_path)
    task = learner(network())
    start_from(task, starting(path, layout="distl"))
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(task.model(image).logits, network(1)(image).logits)
    assert torch.equal(task.teacher(image).logits, network(2)(image).logits)
    assert torch.equal(task.dino.centre, read_checkpoint(path)["centre"]["centre"])


@pytest.mark.parametrize("piece", ["encoder", "backbone"])
def test_both_encoders_are_taken_by_name(tmp_path, piece):
    task = learner(network())
    parts = {piece: piece, f"teacher_{piece}": f"teacher_{piece}"}
    start_from(task, starting(checkpoint(tmp_path), layout="distl", parts=parts))
    image = torch.rand(2, 1, 32, 32)
    for mine, seed in ((task.model, 1), (task.teacher, 2)):
        torch.testing.assert_close(mine.encoder(image), network(seed).encoder(image))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_run_starts_from_chosen_parts_and_a_grey_one_from_a_summed_stem(tmp_path, in_channels):
    task = learner(network(in_channels=in_channels))
    heads = {key: value.clone() for key, value in task.model.class_head.state_dict().items()}
    parts = {"encoder": "teacher_encoder"}
    start_from(task, starting(checkpoint(tmp_path), layout="distl", parts=parts))
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(task.model.encoder(image), network(2).encoder(image))
    assert all(torch.equal(heads[key], value) for key, value in task.model.class_head.state_dict().items())
    assert not task.dino.centre.any()


def test_the_student_may_start_both(tmp_path):
    task = learner(network())
    start_from(task, starting(checkpoint(tmp_path), layout="distl", parts={"student": "student", "teacher": "student"}))
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(task.model(image).logits, task.teacher(image).logits)


def test_a_start_that_cannot_be_is_refused_in_words(tmp_path):
    path = checkpoint(tmp_path)
    with pytest.raises(
        WeightsError, match=r"cannot be read safely.*; if other code wrote it, say whose: init_from\.layout=distl"
    ):
        start_from(learner(network()), starting(path))
    with pytest.raises(ConfigError, match=r"no layout 'distil'; did you mean 'distl'"):
        read_starts(starting(path, layout="distil"))
    with pytest.raises(ConfigError, match=r"init_from\.layout is no key of {run: \.\.\.}"):
        read_starts({"init_from": {"run": "a=b", "layout": "distl"}})
    with pytest.raises(ConfigError, match="what it starts from has no part 'encoders'; did you mean 'encoder'"):
        check_parts(starting(path, layout="distl", parts={"encoder": "encoders"}), [None])
    path = tmp_path / "student.pth"
    torch.save({"student": released(network())}, path)
    with pytest.raises(ConfigError, match="has no part 'teacher'"):
        start_from(learner(network()), starting(path, layout="distl"))
    with pytest.raises(WeightsError, match=r"belongs to another model \(student\): .*feature_head\.mlp\.1\.weight"):
        start_from(learner(network(batch_norm=True)), starting(path, layout="distl", parts=["student"]))


def test_the_layout_is_part_of_what_a_run_starts_from(tmp_path):
    path = checkpoint(tmp_path)
    plain, ours = (start_identity(*read_starts(starting(path, **more)), None) for more in ({}, {"layout": "distl"}))
    assert plain.keys() == {"file", "parts"}, "ids of runs without a layout stay what they were"
    assert ours == {**plain, "layout": "distl", "parts": {part: part for part in ("student", "teacher", "centre")}}
    assert selected(*read_starts(starting(path, layout="distl", parts=["encoder"]))) == {"encoder": "encoder"}

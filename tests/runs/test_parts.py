"""Weights of another model enter a new one to the last key of what was selected, or not at all."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.runs.parts import Weights, read_weights, take

PARTS = {"encoder": "model.encoder.", "head": "model.head."}


class Model(nn.Module):
    def __init__(self, labels=2, width=4, norm=True):
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width) if norm else nn.Identity())
        self.model.head = nn.Linear(width, labels)


def filled(model, value):
    return {k: torch.full_like(v, value) for k, v in model.state_dict().items()}


def weights_of(model, value=7, parts=PARTS, **options):
    return Weights("other", filled(model, value), parts, **options)


def values(model, prefix):
    return {float(v.float().mean()) for k, v in model.state_dict().items() if k.startswith(prefix)}


def test_a_part_is_taken_over_and_the_rest_stays_as_it_was():
    model = Model(labels=6)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    take(model, PARTS, weights_of(Model(labels=2)), {"encoder": "encoder"})
    assert values(model, "model.encoder.") == {7.0}, "buffers and counters too"
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items() if k.startswith("model.head."))


def test_selecting_nothing_is_the_whole_model():
    model = Model()
    take(model, PARTS, weights_of(Model()), None)
    assert values(model, "") == {7.0}


def test_a_part_may_become_another():
    model = nn.ModuleDict({"student": nn.Linear(3, 3), "teacher": nn.Linear(3, 3)})
    own = {"student": "student.", "teacher": "teacher."}
    other = Weights("other", filled(nn.ModuleDict({"tower": nn.Linear(3, 3)}), 5), {"tower": "tower."})
    take(model, own, other, {"student": "tower", "teacher": "tower"})
    assert values(model, "student.") == values(model, "teacher.") == {5.0}


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        (
            Model(norm=True),
            Model(norm=False),
            ["5 missing (model.encoder.1.weight, model.encoder.1.bias, ", "of 7 tensors"],
        ),
        (
            Model(norm=False),
            Model(norm=True),
            ["5 unexpected (model.encoder.1.weight, model.encoder.1.bias, ", "of 2 tensors"],
        ),
        (
            Model(width=4),
            Model(width=8),
            ["6 of another shape (model.encoder.0.weight, (8, 1, 3, 3) instead of (4, 1, 3, 3), model."],
        ),
    ],
    ids=["missing", "unexpected", "of another shape"],
)
def test_the_keys_that_do_not_fit_are_named_and_nothing_is_loaded(mine, theirs, words):
    before = {k: v.clone() for k, v in mine.state_dict().items()}
    with pytest.raises(WeightsError) as refused:
        take(mine, PARTS, weights_of(theirs), {"encoder": "encoder"})
    assert all(word in str(refused.value) for word in ["other belongs to another model (encoder)", *words])
    assert all(torch.equal(before[k], v) for k, v in mine.state_dict().items())


def test_one_part_that_does_not_fit_keeps_all_from_being_loaded():
    model = Model(labels=6)
    with pytest.raises(WeightsError, match="head"):
        take(model, PARTS, weights_of(Model(labels=2)), {"encoder": "encoder", "head": "head"})
    assert values(model, "model.encoder.") != {7.0}


def test_the_whole_model_of_another_label_set_points_to_the_parts():
    with pytest.raises(
        WeightsError, match=r"model\.head\.weight.*select what fits, init_from\.parts: \[encoder, head\]"
    ):
        take(Model(labels=6), PARTS, weights_of(Model(labels=2)), None)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"encodr": "encoder"}, ["this task has no part 'encodr'; did you mean 'encoder'?"]),
        ({"encoder": "hed"}, ["other has no part 'hed'; did you mean 'head'?"]),
    ],
)
def test_an_unknown_part_names_the_nearest(parts, words):
    with pytest.raises(ConfigError) as refused:
        take(Model(), PARTS, weights_of(Model()), parts)
    assert all(word in str(refused.value) for word in words)


def test_parts_within_each_other_are_refused():
    own = {**PARTS, "model": "model."}
    with pytest.raises(ConfigError, match="'encoder' is within 'model'"):
        take(Model(), own, weights_of(Model(), parts=own), {"model": "model", "encoder": "encoder"})


def test_a_file_that_names_no_parts_is_read_by_prefix(tmp_path):
    other = Model().model.encoder
    path = tmp_path / "weights.safetensors"
    save_file({f"module.backbone.{k}": v for k, v in filled(other, 3).items()}, path)
    for prefix in ("module.backbone", "module.backbone."):
        model = Model()
        take(model, PARTS, read_weights(path), {"encoder": prefix})
        assert values(model, "model.encoder.") == {3.0}
    with pytest.raises(WeightsError, match=r"has no tensor under 'modul\.'; did you mean 'module'\?"):
        take(Model(), PARTS, read_weights(path), {"encoder": "modul"})


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pytorch_file_is_read_with_and_without_its_parts(tmp_path, wrapped):
    path = tmp_path / "weights.pth"
    state = filled(Model(), 3)
    torch.save({"state_dict": state, "parts": PARTS, "epoch": 2} if wrapped else state, path)
    weights = read_weights(path)
    assert weights.parts == (PARTS if wrapped else None)
    model = Model()
    take(model, PARTS, weights, {"encoder": "encoder" if wrapped else "model.encoder"})
    assert values(model, "model.encoder.") == {3.0}


def test_a_file_that_holds_more_than_weights_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"w": torch.zeros(1), "code": nn.Linear}}, path)
    with pytest.raises(WeightsError, match="more than tensors and plain values"):
        read_weights(path)
    torch.save({"state_dict": {"w": 3}}, path)
    with pytest.raises(WeightsError, match="expected tensors by name"):
        read_weights(path)


def test_a_colour_stem_is_summed_for_a_grey_network():
    model, colour = Model(), Model()
    colour.model.encoder[0] = nn.Conv2d(3, 4, 3)
    weights = weights_of(colour, 2, stems=frozenset({"model.encoder.0.weight"}))
    take(model, PARTS, weights, {"encoder": "encoder"})
    assert torch.equal(model.model.encoder[0].weight, torch.full((4, 1, 3, 3), 6.0))

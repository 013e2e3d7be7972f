"""Is a tower that never learns computed once per input, and does training not notice?"""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from small_dual_towers import RESNET, pairs, text, tower

from cxrvl.errors import DataError
from cxrvl.losses.image_text import InfoNCE
from cxrvl.models.text.lora import Lora
from cxrvl.models.text.pooling import LatentAttention
from cxrvl.models.vit import Vit
from cxrvl.tasks import ImageTextContrast
from cxrvl.tasks.stored_features import image_keys, network_digest, online, open_stores, text_keys

DATA = SimpleNamespace(text_versions=2, fixed_images=True)


def task(model, root, data=DATA):
    one = ImageTextContrast(model, InfoNCE(), torch.optim.AdamW)
    one.stored = open_stores(model, data, root, "32-true")
    return one


class Counted:
    """How often a tower is run, and on how many inputs."""

    def __init__(self, module):
        self.count = self.rows = 0
        module.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        self.count += 1
        self.rows += len(output)


def stepped(one, batch):
    one.train()
    one.zero_grad()
    loss = one.step(batch, "train").loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in one.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", ["text_tower", "image_tower"])
def test_stored_features_train_as_computed_ones(frozen, tmp_path):
    model = tower(RESNET, freeze=[frozen])
    loss, gradients = stepped(task(model, None), pairs())
    calls = Counted(model.get_submodule(frozen))
    for _ in range(3):
        stored, found = stepped(task(model, tmp_path), pairs())
        torch.testing.assert_close(stored, loss, rtol=1e-5, atol=1e-6)
        assert found.keys() == gradients.keys()
        for name, value in gradients.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
    assert calls.count == 1


def test_only_what_is_new_is_computed(tmp_path):
    model = tower(freeze=["text_tower"])
    one = task(model, tmp_path)
    stepped(one, pairs())
    calls = Counted(model.text_tower)
    batch = pairs()
    batch["text"][2], batch["body"][2] = "Old fractures.", torch.tensor([0, 14])
    stepped(one, batch)
    assert calls.rows == 1
    other = pairs(instruction="Find the image of this report.")
    stepped(one, other)
    assert calls.rows == 1 + len(set(other["text"]))


def test_stored_features_of_other_weights_are_never_taken(tmp_path):
    model = tower(freeze=["text_tower"])
    one = task(model, tmp_path)
    stepped(one, pairs())
    with torch.no_grad():
        next(model.text_tower.parameters()).add_(1e-3)
    calls = Counted(model.text_tower)
    stepped(task(model, tmp_path), pairs())
    assert calls.count == 1
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_a_store_of_another_network_under_the_same_name_is_refused(tmp_path):
    model = tower(freeze=["text_tower"])
    one = task(model, tmp_path)
    stepped(one, pairs())
    (folder,) = (tmp_path / "features").iterdir()
    meta = folder / "store.json"
    meta.write_text(meta.read_text().replace(one.stored["text_tower"].store.network, "0" * 64))
    with pytest.raises(DataError, match="of another network"):
        task(model, tmp_path)


def test_a_digest_is_of_weights_reading_and_precision():
    model = tower().text_tower
    first = network_digest(model, "32-true")
    assert network_digest(tower().text_tower, "32-true") == first
    assert network_digest(model, "bf16-mixed") != first
    model.tokenize.max_length = 64
    assert network_digest(model, "32-true") != first


def vit(heads):
    torch.manual_seed(0)
    return partial(Vit, "vit_tiny_patch16_224", 32, 8, embed_dim=24, depth=2, num_heads=heads)(in_channels=1)


def latents(heads):
    torch.manual_seed(0)
    return LatentAttention(32, 4, heads)


def bert(heads):
    torch.manual_seed(0)
    return text("bert", sizes={"num_attention_heads": heads})


@pytest.mark.parametrize("network", [vit, latents, bert])
def test_a_digest_tells_settings_that_no_weight_shows(network):
    two, four = network(2).eval(), network(4).eval()
    assert [value.shape for value in two.state_dict().values()] == [v.shape for v in four.state_dict().values()]
    assert network_digest(network(2), "32-true") == network_digest(two, "32-true")
    assert network_digest(two, "32-true") != network_digest(four, "32-true")


def test_a_digest_is_that_of_a_tower_in_any_mode_and_place():
    model = bert(2).eval()
    first = network_digest(model, "32-true")
    model.encode(["The heart is enlarged."])
    model.body.plain.name_or_path = "elsewhere"
    assert network_digest(model.train(), "32-true") == first


def test_keys_are_of_text_instruction_and_place_of_the_report():
    batch, other = pairs(), pairs(instruction="Find.")
    plain, moved = text_keys(batch["text"], batch["body"]), text_keys(other["text"], other["body"])
    assert not set(plain) & set(moved)
    assert text_keys(["a b"], torch.tensor([[0, 3]])) != text_keys(["a b"], torch.tensor([[2, 3]]))
    images = batch["image"]
    assert image_keys(images) == image_keys(images.clone())
    assert image_keys(images)[0] != image_keys(images + 1e-3)[0]


@pytest.mark.parametrize(
    ("options", "data", "name", "reason"),
    [
        ({}, DATA, "text_tower", "it learns"),
        ({"text_tower": "lora"}, DATA, "text_tower", "it learns"),
        ({"freeze": ["text_tower"]}, SimpleNamespace(text_versions=None, fixed_images=True), "text_tower", "restyled"),
        ({"freeze": ["image_tower"]}, SimpleNamespace(text_versions=1, fixed_images=False), "image_tower", "augmented"),
        ({"freeze": ["image_tower"]}, None, "image_tower", "no data module"),
        ({"freeze": ["image_tower"]}, DATA, "image_tower", ""),
        ({"text_tower": "frozen"}, DATA, "text_tower", ""),
    ],
)
def test_what_is_computed_in_every_step_and_why(options, data, name, reason, tmp_path):
    made = {"lora": lambda: text(lora=Lora(2, targets=["q_proj"])), "frozen": lambda: text(freeze=True)}
    if "text_tower" in options:
        options = {**options, "text_tower": made[options["text_tower"]]()}
    found = online(tower(**options), name, data, tmp_path)
    assert reason in found
    assert bool(found) == bool(reason)
    assert online(tower(freeze=[name]), name, DATA, None) == "task.store_root is null"


def test_what_is_done_is_said(tmp_path, caplog):
    caplog.set_level("INFO", logger="cxrvl")
    task(tower(freeze=["text_tower"]), tmp_path)
    assert "image_tower: computed in every step, since it learns" in caplog.text
    assert "text_tower: never learns, its features are stored in" in caplog.text

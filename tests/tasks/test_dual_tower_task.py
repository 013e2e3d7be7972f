"""Does contrast of images and reports learn, whatever the chunk, at the rates that are asked for?"""

from functools import partial

import numpy as np
import pytest
import torch
from self_training_runs import config_of
from small_dual_towers import RESNET, VIT, pairs, text, tower
from timm.layers import EvoNorm2dB0, FrozenBatchNormAct2d
from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.losses.companions import Softening
from cxrvl.losses.image_text import InfoNCE, SigLIP
from cxrvl.models.batch_statistics import uses_batch_statistics
from cxrvl.models.chunks import refuse_batch_statistics
from cxrvl.models.open_clip_towers import OpenClipText
from cxrvl.models.resnet import ResNet
from cxrvl.runs.parts import Weights, take
from cxrvl.runs.sharding import refuse_uncut
from cxrvl.runs.trainer import build_task
from cxrvl.tasks import ImageTextContrast
from cxrvl.tasks.dual_tower import finding_set, found_within, report_texts
from cxrvl.tasks.parameter_groups import depths_of

ADAM = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.05)


def task(model=None, loss=None, **options):
    return ImageTextContrast(model or tower(), loss or InfoNCE(), ADAM, **options)


def gradients_of(model, chunk, loss=None, seed=3):
    one = task(model, loss, chunk=chunk).double()
    one.train()
    one.zero_grad()
    torch.manual_seed(seed)
    batch = pairs()
    out = one.step({**batch, "image": batch["image"].double()}, "train")
    out.loss.backward()
    return out.loss.detach(), {name: p.grad.clone() for name, p in one.named_parameters() if p.grad is not None}


def dropping(**options):
    """Towers whose dropout the chunks have to replay."""
    words = text("bert", sizes={"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0})
    return tower(partial(VIT, drop_path=0.5), words, **options)


@pytest.mark.parametrize("loss", [InfoNCE(), SigLIP(2), InfoNCE(soften=Softening(0.4, 0.6))])
def test_chunks_have_the_gradients_of_the_whole(loss):
    model = tower(logit_bias=-1.0)
    whole, wanted = gradients_of(model, 0, loss)
    parts, found = gradients_of(model, 2, loss)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        difference = (found[name] - value).norm() / value.norm().clamp(min=1e-9)
        assert difference < 1e-6, name


def test_dropout_is_replayed_in_chunks():
    """What the chunks drop in the second pass is what they dropped in the first: the gradient is that of the loss."""
    model = dropping().double()
    one = task(model, chunk=2).double().train()
    batch = pairs()
    batch["image"] = batch["image"].double()
    weight = model.image_projection.weight

    def loss():
        torch.manual_seed(11)
        return one.step(batch, "train").loss

    loss().backward()
    place, step = (1, 2), 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[place] += sign * step
            values.append(loss())
            weight[place] -= sign * step
    torch.testing.assert_close(weight.grad[place], (values[0] - values[1]) / (2 * step), rtol=1e-5, atol=1e-9)
    inner = model.text_tower.body.network.embeddings.LayerNorm.weight
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            inner[3] += sign * step
            values.append(loss())
            inner[3] -= sign * step
    torch.testing.assert_close(inner.grad[3], (values[0] - values[1]) / (2 * step), rtol=1e-5, atol=1e-9)


def test_chunks_refuse_a_tower_that_normalises_by_its_batch():
    with pytest.raises(ConfigError, match=r"image_tower: backbone\.bn1 normalises by the statistics of its batch"):
        task(tower(RESNET), chunk=2)
    for options in ({"freeze": ["image_tower"]}, {"fixed_statistics": True}):
        model = tower(RESNET, **options)
        whole, wanted = gradients_of(model, 0)
        parts, found = gradients_of(model, 2)
        torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)
        assert wanted.keys() == found.keys()


def test_other_layers_that_read_their_batch_are_told_from_those_that_do_not():
    """EvoNorm-B0 keeps a running variance, as BatchNorm does, and is none."""
    layers = {
        EvoNorm2dB0(4): True, nn.BatchNorm2d(4): True, nn.SyncBatchNorm(4): True, FrozenBatchNormAct2d(4): False,
        nn.InstanceNorm2d(4, track_running_stats=True): False, nn.GroupNorm(2, 4): False, nn.LayerNorm(4): False,
    }  # fmt: skip
    for layer, reads in layers.items():
        assert uses_batch_statistics(layer) == reads
    with pytest.raises(ConfigError, match=r"image_tower: 1 normalises by the statistics of its batch"):
        refuse_batch_statistics(nn.Sequential(nn.Conv2d(1, 4, 1), EvoNorm2dB0(4)), "image_tower")


def test_pairs_with_the_same_report_are_no_negatives():
    batch = pairs()
    assert report_texts(batch)[1] == report_texts(batch)[4]
    with_text = task(not_negatives=["text"]).companions(batch).keys
    assert with_text[1, 0] == with_text[4, 0]
    assert len(set(with_text[:, 0].tolist())) == 5
    assert task(not_negatives=[]).companions(batch).keys is None
    three = task(not_negatives=["study", "text", "labels"]).companions(batch).keys
    assert three.shape == (6, 3)


def test_finding_sets():
    nan = float("nan")
    assert finding_set(np.array([1, 0, nan])) == finding_set(np.array([1, nan, 0]))
    assert finding_set(np.array([1, 0, 0])) != finding_set(np.array([-1, 0, 0]))
    assert finding_set(np.array([0, nan, 0])) == "none"
    assert finding_set(np.array([nan, nan, nan])) == ""


def test_found_within_counts_any_report_with_the_same_text():
    image = torch.eye(4)
    documents = torch.eye(4)[[1, 0, 2, 3]]
    assert found_within(image, documents, torch.tensor([1, 2, 3, 4]), 1).tolist() == [False, False, True, True]
    assert found_within(image, documents, torch.tensor([1, 1, 3, 4]), 1).all()
    assert found_within(image, documents, torch.tensor([1, 2, 3, 4]), 10).all()


def test_instructions_are_no_part_of_a_report():
    assert report_texts(pairs(instruction="Find the image.")) == report_texts(pairs())


def test_a_few_steps_align_pairs():
    torch.manual_seed(0)
    one = task(tower(RESNET))
    optimizer = torch.optim.AdamW(one.parameter_groups(), lr=3e-3)
    batch = pairs(6)
    batch["text"][4], batch["body"][4] = "Old fractures.", torch.tensor([0, 14])
    first = one.step(batch, "train").loss.item()
    for _ in range(25):
        optimizer.zero_grad()
        loss = one.step(batch, "train").loss
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first
    out = one.step(batch, "val")
    metrics = one.validation_metrics(out.outputs)
    assert metrics["recall_at_5"] >= metrics["recall_at_1"] >= 0.5


def test_rates_by_tower_and_depth():
    one = task(groups={
        "image_tower": {"lr": 1e-4, "layer_decay": 0.5, "weight_decay": 0.2}, "text_tower": {"lr": 2e-5},
        "projections": {"lr": 5e-4},
    })  # fmt: skip
    rates = {}
    for group in one.parameter_groups():
        for parameter in group["params"]:
            rates[id(parameter)] = (group["lr"], group["weight_decay"])
    named = dict(one.tower.named_parameters())
    assert len(rates) == len(named)

    def of(name):
        return rates[id(named[name])]

    blocks = "image_tower.backbone.network.blocks"
    assert of("image_tower.backbone.network.patch_embed.proj.weight") == (1e-4 * 0.5**3, 0.2)
    assert of("image_tower.backbone.network.pos_embed") == (1e-4 * 0.5**3, 0.0)
    assert of(f"{blocks}.0.attn.qkv.weight") == (1e-4 * 0.5**2, 0.2)
    assert of(f"{blocks}.1.attn.qkv.weight") == (1e-4 * 0.5, 0.2)
    assert of(f"{blocks}.1.attn.qkv.bias") == (1e-4 * 0.5, 0.0)
    assert of("image_tower.backbone.network.norm.weight") == (1e-4, 0.0)
    assert of("text_tower.body.network.layers.0.self_attn.q_proj.weight") == (2e-5, 0.05)
    assert of("image_projection.weight") == (5e-4, 0.05)
    assert of("logit_scale") == (1e-3, 0.0)


def test_depths_of_a_cnn_go_by_stage():
    names = [name for name, _ in RESNET(in_channels=1).named_parameters()]
    depths = depths_of(names)
    assert depths["conv1.weight"] == (0, 5)
    assert depths["layer1.0.conv1.weight"] == (1, 5)
    assert depths["layer4.0.bn2.bias"] == (4, 5)
    assert depths_of(["0.weight", "1.weight"]) == {"0.weight": (1, 1), "1.weight": (1, 1)}


def test_depths_of_other_houses():
    densenet = ["features.conv0.weight", "features.denseblock1.denselayer1.conv1.weight", "features.transition1.conv.weight",
                "features.denseblock2.denselayer1.conv1.weight", "features.norm5.weight"]  # fmt: skip
    assert [depth for depth, _ in depths_of(densenet).values()] == [0, 1, 1, 2, 3]
    t5 = [
        "shared.weight",
        "block.0.layer.0.q.weight",
        "block.0.layer.1.wi.weight",
        "block.1.layer.0.q.weight",
        "norm.weight",
    ]
    assert [depth for depth, _ in depths_of(t5).values()] == [0, 1, 1, 2, 3]
    assert depths_of(["wte.weight", "h.0.attn.weight", "h.1.attn.weight"])["h.1.attn.weight"] == (2, 3)


def test_the_projection_of_open_clip_stands_behind_its_blocks():
    words = OpenClipText("ViT-B-32", options={"width": 32, "heads": 2, "layers": 2, "vocab_size": 49408})
    depths = depths_of([name for name, _ in words.named_parameters()])
    assert depths["network.text_projection"] == (3, 3)
    assert depths["network.positional_embedding"] == depths["network.token_embedding.weight"] == (0, 3)
    assert depths["network.transformer.resblocks.1.mlp.c_fc.weight"] == (2, 3)
    assert depths["network.ln_final.weight"] == (3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"projections": {"lr": 1.0, "layer_decay": 0.5}}}, "would do nothing: no numbered blocks"),
        ({"chunk": -1}, "task.chunk is -1"),
        ({"not_negatives": ["texts"]}, "did you mean 'text'"),
        ({"groups": {"image": {}}}, "task.groups names 'image'"),
        ({"groups": {"text_tower": {"rate": 1.0}}}, r"task\.groups\.text_tower\.rate is no key"),
        ({"groups": {"text_tower": {"lr": 1.0, "layer_decay": 0.0}}}, "a layer decay in"),
    ],
)
def test_options_that_cannot_be_right(options, message):
    with pytest.raises(ConfigError, match=message):
        task(**options)


def test_another_model_is_refused():
    with pytest.raises(ConfigError, match="needs a dual tower"):
        ImageTextContrast(torch.nn.Linear(2, 2), InfoNCE(), ADAM)


def test_siglip_without_a_bias_is_warned_of(caplog):
    task(tower(logit_scale=10.0, logit_bias=-10.0), SigLIP())
    assert not caplog.text
    task(tower(), SigLIP())
    assert "model.logit_scale=10 model.logit_bias=-10" in caplog.text


def test_a_scale_is_not_cut_among_devices():
    with pytest.raises(
        ConfigError, match=r"model\.logit_scale of this ImageTextContrast is a single number; use trainer=ddp"
    ):
        refuse_uncut(task())


def test_predictions_are_of_images_or_of_texts():
    one = task().eval()
    batch = pairs()
    images = one.predict_step(batch, 0)
    texts = one.predict_step({key: batch[key] for key in ("text", "body")}, 0)
    assert images.embedding.shape == texts.embedding.shape == (6, 16)
    assert images.features.shape == (6, 24)
    assert texts.features.shape == (6, 32)
    torch.testing.assert_close(images.embedding, one.tower.encode_image(batch["image"]))
    torch.testing.assert_close(texts.embedding, one.tower.encode_text(one.tower.tokenize(batch["text"], batch["body"])))
    assert one.similarity_scale == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("part", ["backbone", "teacher_backbone"])
def test_the_image_tower_of_a_self_training_run_fits(tmp_path, part):
    first = build_task(config_of(tmp_path))
    for parameter in first.teacher.parameters():  # or student and teacher could not be told apart
        parameter.data.add_(0.25)
    narrow = partial(ResNet, depth=18, layers=[1, 1, 1, 1], base_width=16)
    second = task(tower(narrow, fixed_statistics=True))
    take(second, second.parts(), Weights("first", first.state_dict(), first.parts()), {"image_tower": part})
    theirs = (first.model if part == "backbone" else first.teacher).encoder.backbone.state_dict()
    for key, value in second.tower.image_tower.backbone.state_dict().items():
        assert torch.equal(value, theirs[key]), key

"""Do the released ACM code and this project give the same numbers, forward and backward, for the same weights?"""

import json
import re
from functools import partial
from typing import Any

import pytest
import torch
from parity_cases import FOLDER, Case, cases, filled_state
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from cxrvl.interop.acm import translate_block_key, translate_module_key, translate_released
from cxrvl.losses.multilabel import MultilabelLoss
from cxrvl.models.acm import ACM
from cxrvl.models.classifier import ImageClassifier
from cxrvl.models.heads import MaxPoolHead
from cxrvl.models.resnet import ContextBottleneck, ResNet
from cxrvl.models.weights import load_weights

_DEPTH_OF = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}


@pytest.mark.parametrize("description", cases("acm_module"))
def test_module(description):
    case = Case(description)
    config = case.config
    module = ACM(config["channels"], config["groups"], config["reduction"], attention_bias=True)
    names = {key: translate_module_key(key) for key in case.weights()}
    module.load_state_dict({names[key]: value for key, value in case.weights().items()})
    x = case.tensors["in/x"].requires_grad_()
    y = module(x)
    loss = y.square().mean() + config["orth_lambda"] * module.dot.mean().abs()
    loss.backward()
    comparison = module.compare(x)
    for name, value in (
        ("y", y),
        ("dp", module.dot),
        ("loss", loss),
        ("K", comparison.key),
        ("Q", comparison.query),
        ("P", comparison.gate),
        ("attention_K", comparison.key_maps),
        ("attention_Q", comparison.query_maps),
    ):
        case.expect(f"out/{name}", value)
    case.expect("grad/x", x.grad)
    for key, name in names.items():
        case.expect(f"grad/w/{key}", module.get_parameter(name).grad)
    case.finish()


def build_bottleneck(config: dict[str, Any], keys: set[str]) -> Bottleneck:
    inplanes, planes, stride = config["inplanes"], config["planes"], config["stride"]
    downsample = None
    if "downsample.0.weight" in keys:
        downsample = nn.Sequential(nn.Conv2d(inplanes, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
    carries = any(key.startswith("module.") for key in keys)
    block = (ContextBottleneck if carries else Bottleneck)(
        inplanes,
        planes,
        stride,
        downsample,
        groups=config.get("conv_groups", 1),
        base_width=config.get("base_width", 64),
        dilation=config.get("dilation", 1),
    )
    if carries:
        block.context = ACM(4 * planes, config["acm_groups"], attention_bias=True)
    return block


def dot_of(block: Bottleneck, x: Tensor) -> Tensor:
    """The dot products that the block's module left, zero without one."""
    return block.context.dot if isinstance(block, ContextBottleneck) else torch.zeros(len(x))


@pytest.mark.parametrize("description", cases("acm_bottleneck"))
def test_bottleneck(description):
    case = Case(description)
    weights = case.weights()
    names = {key: translate_block_key(key) for key in weights}
    block = build_bottleneck(case.config, set(weights))
    block.load_state_dict({names[key]: value for key, value in weights.items()})
    x = case.tensors["in/x"].requires_grad_()
    before = case.tensors.get("in/prev_dp", torch.zeros(len(x))).flatten()

    with torch.no_grad():
        case.expect("out/eval_y", block.eval()(x))
        case.expect("out/eval_dp", before + dot_of(block, x))
    y = block.train()(x)
    dot = before + dot_of(block, x)
    loss = y.square().mean() + case.config.get("orth_lambda", 0.1) * dot.mean().abs()
    loss.backward()
    for name, value in (("train_y", y), ("train_dp", dot), ("train_loss", loss)):
        case.expect(f"out/{name}", value)
    case.expect("grad/x", x.grad)
    state = block.state_dict()
    parameters = dict(block.named_parameters())
    for key, name in names.items():
        case.expect(f"grad/w/{key}", parameters[name].grad if name in parameters else None)
        for described in case.described:
            if described.startswith("out/") and described.endswith(f"/{key}"):
                case.expect(described, state[name])
    case.finish()


def build_network(config: dict[str, Any], n_labels: int) -> ImageClassifier:
    layers = tuple(config.get("layers", {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}.get(config["arch"])))
    context = None
    if config["module"] == "acm":
        context = partial(ACM, groups=config["acm_groups"], attention_bias=True)
    backbone = ResNet(
        _DEPTH_OF.get(layers, 50),
        context,
        layers=layers,
        width_per_group=config.get("width_per_group", 64),
        conv_groups=config.get("conv_groups", 1),
    )
    return ImageClassifier(backbone, MaxPoolHead, n_labels)


@pytest.mark.parametrize("description", cases("acm_network"))
def test_network(description):
    case = Case(description)
    model = build_network(case.config, case.config["n_labels"]).eval()
    load_weights(model, translate_released(filled_state(description)), origin=description["case"])
    seen: dict[str, Tensor] = {}
    for stage in range(1, 5):
        layer = model.backbone.get_submodule(f"layer{stage}")
        layer[-1].register_forward_hook(lambda _, __, output, name=f"layer{stage}": seen.update({name: output}))
    with torch.no_grad():
        maps_of = model.backbone(case.tensors["in/x"])
        logits, class_map = model.head(maps_of)
    dots = [module.dot for module in model.backbone.contexts().values()]
    blocks = len(list(model.backbone.blocks()))
    cumulative = torch.stack(dots).cumsum(0) if dots else torch.zeros(blocks, len(logits))
    for name, value in seen.items():
        case.expect(f"out/{name}", value)
        case.expect(f"out/{name}_channel_mean", value.mean((2, 3)))
    case.expect("out/class_map", class_map)
    case.expect("out/logits", logits)
    case.expect("out/probs", logits.sigmoid())
    case.expect("out/dp", cumulative[-1])
    case.expect("out/cumulative_dp", cumulative)
    if "in/labels" in case.tensors:
        bce = MultilabelLoss()(logits, case.tensors["in/labels"])
        case.expect("out/loss_bce", bce)
        case.expect("out/loss_total", bce + case.config.get("orth_lambda", 0.1) * cumulative[-1].mean().abs())
    case.finish()


@pytest.mark.parametrize("description", cases("acm_checkpoint_layout"))
def test_checkpoint_layout(description):
    layout = json.loads((FOLDER / description["file"]).read_text())
    released = {
        entry["key"]: torch.zeros(entry["shape"], dtype=getattr(torch, entry["dtype"]))
        for entry in layout["state_dict"]
    }
    model = build_network(description["config"], description["config"]["n_labels"])
    translated = translate_released(released)
    own = model.state_dict()
    assert {key: (value.shape, value.dtype) for key, value in translated.items()} == {
        key: (value.shape, value.dtype) for key, value in own.items()
    }
    load_weights(model, translated, origin=description["case"])
    assert sum(parameter.numel() for parameter in model.parameters()) == layout["n_parameters"]
    assert sum(".context." in key for key in own) == layout["n_acm_entries"]
    assert not any(re.search(r"(^|\.)module\.", key) for key in own)

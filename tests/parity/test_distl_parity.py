"""Do the released DISTL code and this project give the same numbers, forward and backward, for the same weights?"""

import json
from functools import partial
from typing import Any

import pytest
import torch
from distl_networks import build_network, build_vit
from parity_cases import FOLDER, Case, cases
from torch import Tensor, nn

from cxrvl.config.resolvers import released_learning_rate
from cxrvl.interop.distl import read_checkpoint, translate_head_key, translate_network
from cxrvl.losses.dino import DinoLoss
from cxrvl.models.build import self_training
from cxrvl.models.distl_heads import ClassHead, FeatureHead
from cxrvl.models.teacher import update_teacher
from cxrvl.models.vit import Vit
from cxrvl.models.weights import load_weights
from cxrvl.tasks.teacher_schedules import ramp, released_cosine, teacher_temperature


@pytest.mark.parametrize("description", cases("distl_dino_loss"))
def test_dino_loss(description):
    case = Case(description)
    config = case.config
    temperatures = [
        teacher_temperature(
            epoch, config["warmup_teacher_temp"], config["teacher_temp"], config["warmup_teacher_temp_epochs"]
        )
        for epoch in range(config["n_epochs"])
    ]
    loss = DinoLoss(config["K"], student_temperature=config["student_temp"], centre_momentum=config["center_momentum"])
    losses, centres, gradients = [], [], []
    for student, teacher, epoch in zip(
        case.tensors["in/student"], case.tensors["in/teacher"], case.tensors["in/epochs"].tolist(), strict=True
    ):
        student.requires_grad_()
        losses.append(loss(student, teacher, range(config["global_views"]), temperatures[epoch]))
        losses[-1].backward()
        gradients.append(student.grad)
        loss.update_centre(teacher)
        centres.append(loss.centre[0].clone())
    case.expect("out/loss", torch.stack(losses))
    case.expect("grad/student", torch.stack(gradients))
    case.expect("out/center", torch.stack(centres))
    case.expect("out/teacher_temp", torch.tensor(temperatures, dtype=torch.float64))
    case.finish()


@pytest.mark.parametrize("description", cases("distl_dino_head"))
def test_dino_head(description):
    case = Case(description)
    config = case.config
    head = FeatureHead(
        config["in_dim"],
        hidden=config["hidden_dim"],
        bottleneck=config["bottleneck_dim"],
        prototypes=config["out_dim"],
        layers=config["nlayers"],
        batch_norm=config["use_bn"],
        freeze_norm=config["norm_last_layer"],
    ).eval()
    case.expect("out/bottleneck", _loaded(head, case).bottleneck(case.tensors["in/x"]))
    case.expect("out/effective_last_weight", head.last_layer.weight)
    _expect_linear_form(head, case)


@pytest.mark.parametrize("description", cases("distl_class_head"))
def test_class_head(description):
    case = Case(description)
    layers = sum(key.endswith(".weight") for key in case.weights())
    head = ClassHead(case.config["in_dim"], case.config["num_classes"], case.config["hidden_dim"], layers)
    _expect_linear_form(_loaded(head, case), case)


def _loaded(head: Any, case: Case) -> Any:
    load_weights(head, {translate_head_key(key): value for key, value in case.weights().items()}, origin="the case")
    return head


def _expect_linear_form(head: nn.Module, case: Case) -> None:
    """Compare a head's output, and the gradients of its product with a fixed matrix."""
    x = case.tensors["in/x"].requires_grad_()
    y = head(x)
    (y * case.tensors["in/cotangent"]).sum().backward()
    case.expect("out/y", y)
    case.expect("grad/x", x.grad)
    parameters = dict(head.named_parameters())
    for key in case.weights():
        case.expect(f"grad/w/{key}", getattr(parameters.get(translate_head_key(key)), "grad", None))
    case.finish()


@pytest.mark.parametrize("description", cases("distl_vit"))
def test_vit(description):
    case = Case(description)
    vit = build_vit(case.config).eval()
    load_weights(vit.network, case.weights(), origin="the case")
    patch = case.config["patch_size"]
    for index, (height, width) in enumerate(case.config["sizes"]):
        size = f"{height}x{width}"
        x = case.tensors[f"in/x_{size}"].requires_grad_()
        tokens, cls = vit.tokens(x), vit(x)
        case.expect(f"out/cls_{size}", cls)
        case.expect(f"out/tokens_{size}", tokens)
        case.expect(f"out/pos_embed_{size}", vit.positions(height // patch, width // patch))
        case.expect(f"out/last_attention_{size}", vit.attention(x))
        if index == 0:
            (cls * case.tensors["in/cotangent"]).sum().backward()
            case.expect(f"grad/x_{size}", x.grad)
            for key, parameter in vit.network.named_parameters():
                case.expect(f"grad/w/{key}", parameter.grad)
    case.finish()


def num_labels_of(state: dict[str, Tensor]) -> int:
    """The outputs of the class head's last layer."""
    biases = [key for key in state if "class_head." in key and key.endswith(".bias")]
    return len(state[max(biases)])


@pytest.mark.parametrize("description", cases("distl_multicrop_forward"))
def test_multicrop_forward(description):
    case = Case(description)
    state = translate_network(case.weights(), "the case")
    network = build_network(case.config, num_labels_of(state))
    load_weights(network, state, origin="the case")
    whole, local = case.tensors["in/global"], case.tensors["in/local"]
    with torch.no_grad():
        output = network.views([*whole, *local], class_views=range(len(whole)))
        case.expect("out/head", output.features)
        case.expect("out/cls", output.logits)
        case.expect("out/teacher_head", network.views(list(whole), class_views=[]).features)
        case.expect("out/single_view_cls", network(whole[0]).logits)
    case.finish()


@pytest.mark.parametrize("description", cases("distl_teacher_ema"))
def test_teacher_ema(description):
    case = Case(description)
    config = case.config
    names = [name.removeprefix("in/teacher0/") for name in case.tensors if name.startswith("in/teacher0/")]
    teacher = nn.ParameterDict({name: nn.Parameter(case.tensors[f"in/teacher0/{name}"]) for name in names})
    momenta, followed = [], {name: [] for name in names}
    steps = config["epochs"] * config["iters_per_epoch"]
    for step in range(config["steps"]):
        student = nn.ParameterDict({name: nn.Parameter(case.tensors[f"in/student/{name}"][step]) for name in names})
        momenta.append(released_cosine(step, steps, config["base_momentum"], config["final_momentum"]))
        update_teacher(teacher, student, momenta[-1])
        for name in names:
            followed[name].append(teacher[name].detach().clone())
    case.expect("out/momentum", torch.tensor(momenta, dtype=torch.float64))
    for name, values in followed.items():
        case.expect(f"out/teacher/{name}", torch.stack(values))
    case.finish()


@pytest.mark.parametrize("description", cases("distl_schedules"))
def test_schedules(description):
    case = Case(description)
    config = case.config
    epochs = config["epochs"]
    steps = epochs * config["iters_per_epoch"]
    warmup = config["warmup_epochs"] * config["iters_per_epoch"]
    rate = released_learning_rate(config["lr"], config["batch_per_process"] * config["processes"])
    assert rate == pytest.approx(config["effective_base_lr"], rel=1e-12)
    for name, values in (
        ("lr", [released_cosine(i, steps, rate, config["min_lr"], warmup) for i in range(steps)]),
        (
            "weight_decay",
            [released_cosine(i, steps, config["weight_decay"], config["weight_decay_end"]) for i in range(steps)],
        ),
        ("momentum", [released_cosine(i, steps, config["momentum_teacher"], 1.0) for i in range(steps)]),
        ("alpha", [ramp(epoch, epochs) for epoch in range(epochs)]),
    ):
        case.expect(f"out/{name}", torch.tensor(values, dtype=torch.float64))
    case.finish()


@pytest.mark.parametrize("description", cases("distl_checkpoint"))
def test_checkpoint(description):
    case = Case(description)
    (name,) = [name for name in description["other_files"] if name.endswith(".pth")]
    read = read_checkpoint(FOLDER / name)
    case.expect("out/center", read["centre"]["centre"])
    image = case.tensors["in/image"]
    for who in ("student", "teacher"):
        network = build_network(case.config, num_labels_of(read[who]))
        load_weights(network, read[who], origin=name)
        with torch.no_grad():
            embedding = network.encoder(image)
            case.expect(f"out/{who}_features", embedding)
            case.expect(f"out/{who}_head", network.feature_head(embedding))
            case.expect(f"out/{who}_cls", network(image).logits)
    case.finish()


@pytest.mark.parametrize("description", cases("distl_checkpoint_layout"))
def test_checkpoint_layout(description):
    layout = json.loads((FOLDER / description["file"]).read_text())
    config = description["config"]
    width, hidden, _, labels = config["class_head"]
    with torch.device("meta"):
        network = self_training(
            partial(Vit, f"{config['arch']}_patch16_224", patch_size=config["patch_size"], positions="released"),
            partial(ClassHead, hidden=hidden),
            labels,
            partial(
                FeatureHead,
                hidden=config["head_hidden"],
                bottleneck=config["head_bottleneck"],
                prototypes=config["out_dim"],
                batch_norm=config["use_bn_in_head"],
            ),
        )
        loss = DinoLoss(config["out_dim"])
    assert network.encoder.num_features == width
    for who in ("student", "teacher"):
        released = {entry["key"]: _empty(entry) for entry in layout[who]}
        assert _shapes(translate_network(released, who)) == _shapes(network.state_dict())
    assert [(entry["key"], tuple(entry["shape"])) for entry in layout["dino_loss"]] == [
        ("center", tuple(loss.centre.shape))
    ]
    assert sum(parameter.numel() for parameter in network.parameters()) == layout["n_parameters"]
    frozen = [key for key, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == list(translate_network({key: torch.empty(0) for key in layout["frozen"]}, "frozen"))


def _empty(entry: dict[str, Any]) -> Tensor:
    return torch.empty(entry["shape"], dtype=getattr(torch, entry["dtype"]), device="meta")


def _shapes(state: dict[str, Tensor]) -> dict[str, Any]:
    return {key: (value.shape, value.dtype) for key, value in state.items()}

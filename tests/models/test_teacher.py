"""Does a teacher follow its student by the average alone, and is it never trained, dropped from or shared?"""

from functools import partial

import pytest
import torch
from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.losses.dino import DinoLoss
from cxrvl.models.build import self_training
from cxrvl.models.distl_heads import ClassHead, FeatureHead
from cxrvl.models.resnet import ResNet
from cxrvl.models.self_training import SelfTrainingNetwork
from cxrvl.models.teacher import make_teacher, update_teacher
from cxrvl.models.timm_backbone import TimmBackbone
from cxrvl.models.vit import Vit

VIT = partial(Vit, image_size=32, embed_dim=16, depth=2, num_heads=2, drop_path=0.5)
CNN = partial(ResNet, 18, layers=(1, 1, 1, 1), base_width=16, stem="small")


def student(backbone=VIT) -> SelfTrainingNetwork:
    torch.manual_seed(0)
    return self_training(
        backbone, partial(ClassHead, hidden=12), 3, partial(FeatureHead, hidden=20, bottleneck=8, prototypes=24)
    )


def views(count: int = 3) -> list[torch.Tensor]:
    return [torch.rand(2, 1, 32, 32) for _ in range(count)]


@pytest.mark.parametrize("backbone", [VIT, CNN])
def test_a_training_step_of_the_student_leaves_the_teacher_as_it_was(backbone):
    model = student(backbone).train()
    teacher = make_teacher(model)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    seen = views()
    mine, theirs = model.views(seen, [1]), teacher.views(seen[:2], [0])
    assert not theirs.features.requires_grad
    (DinoLoss(24)(mine.features, theirs.features) + mine.logits.sum()).backward()
    optimizer.step()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert not torch.equal(model.class_head.mlp[0].weight, teacher.class_head.mlp[0].weight)


def test_nothing_is_dropped_in_a_teacher_even_while_training():
    torch.manual_seed(0)
    dropping = partial(VIT, options={"proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "pos_drop_rate": 0.5})
    seen = torch.rand(4, 1, 32, 32)
    for backbone in (dropping, partial(TimmBackbone, "convnext_atto")):
        model = student(backbone).train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.5
        teacher = make_teacher(model)
        torch.testing.assert_close(teacher.train()(seen).logits, model.eval()(seen).logits)
    model = student(dropping).train()
    assert not torch.allclose(model(seen).logits, make_teacher(model)(seen).logits)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9995, 1.0])
def test_the_update_is_the_average(momentum):
    model = student(CNN)
    teacher = make_teacher(model)
    before = {name: p.detach().clone() for name, p in teacher.named_parameters()}
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter)
    update_teacher(teacher, model, momentum)
    for (name, followed), parameter in zip(teacher.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(followed, momentum * before[name] + (1 - momentum) * parameter.detach())
        assert not followed.requires_grad
    if momentum == 1:
        assert all(torch.equal(before[name], p) for name, p in teacher.named_parameters())


def test_running_statistics_follow_if_asked_and_counters_are_copied():
    model = student(CNN).train()
    followed, kept = make_teacher(model), make_teacher(model)
    model.views(views(), [0])
    update_teacher(followed, model, 0.75)
    update_teacher(kept, model, 0.75, buffers=False)
    mine, norm = model.encoder.backbone.bn1, followed.encoder.backbone.bn1
    assert mine.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.25 * mine.running_mean)
    torch.testing.assert_close(norm.running_var, 0.75 + 0.25 * mine.running_var)
    assert norm.num_batches_tracked == 1
    assert not kept.encoder.backbone.bn1.running_mean.any()
    assert kept.encoder.backbone.bn1.num_batches_tracked == 0


def test_many_updates_converge_to_a_student_at_rest():
    model = student()
    teacher = make_teacher(model)
    for parameter in model.parameters():
        parameter.data += 1.0
    for _ in range(200):
        update_teacher(teacher, model, 0.9)
    for followed, parameter in zip(teacher.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(followed, parameter, rtol=0, atol=1e-5)


def test_what_cannot_be_followed_is_named():
    model = student()
    teacher = make_teacher(model)
    for momentum in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="expected 0 to 1"):
            update_teacher(teacher, model, momentum)
    for buffers in (False, True):
        with pytest.raises(ConfigError, match="expected the same network"):
            update_teacher(teacher, student(CNN), 0.9, buffers)

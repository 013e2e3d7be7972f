"""Is the DINO loss the mean over its pairs, without gradients or arrays it does not need, and what is its centre?"""

import copy

import pytest
import torch
from torch import Tensor

from cxrvl.errors import ConfigError
from cxrvl.losses.dino import DinoLoss

K, BATCH, VIEWS = 12, 3, 5


def scores(views: int, seed: int = 0, **options) -> Tensor:
    return torch.randn(views * BATCH, K, generator=torch.Generator().manual_seed(seed), **options)


def centred_loss() -> DinoLoss:
    loss = DinoLoss(K).double()
    loss.centre.copy_(torch.linspace(-1, 1, K))
    return loss


def plain(loss: DinoLoss, student: Tensor, teacher: Tensor, teacher_views) -> tuple[Tensor, int]:
    """The sum over pairs, written out."""
    terms = []
    for i, own in enumerate(teacher_views):
        target = ((teacher[i * BATCH : (i + 1) * BATCH] - loss.centre) / loss.teacher_temperature).softmax(1)
        for v in range(len(student) // BATCH):
            if v != own:
                view = student[v * BATCH : (v + 1) * BATCH] / loss.student_temperature
                terms.append(-(target * view.log_softmax(1)).sum(1).mean())
    return torch.stack(terms).mean(), len(terms)


@pytest.mark.parametrize("teacher_views", [(0, 1), (0,), (3, 1), (0, 1, 2, 3, 4)])
def test_it_is_the_mean_over_pairs_of_different_views(teacher_views):
    loss = centred_loss()
    student, teacher = scores(VIEWS, dtype=torch.float64), scores(len(teacher_views), 1, dtype=torch.float64)
    mine, theirs = student.clone().requires_grad_(), student.clone().requires_grad_()
    expected, pairs = plain(loss, theirs, teacher, teacher_views)
    found = loss(mine, teacher, teacher_views)
    assert pairs == len(teacher_views) * (VIEWS - 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*torch.autograd.grad(found, mine), *torch.autograd.grad(expected, theirs))


def test_gradients_are_those_of_the_loss_and_none_reaches_the_teacher():
    loss = centred_loss()
    student = scores(3, dtype=torch.float64).requires_grad_()
    teacher = scores(2, 1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: 3 * loss(s, teacher), (student,))
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_alike_outputs_cost_the_entropy_of_the_prototypes():
    value = DinoLoss(K)(torch.zeros(VIEWS * BATCH, K), torch.zeros(2 * BATCH, K))
    torch.testing.assert_close(value, torch.tensor(float(K)).log())


def test_images_do_not_mix():
    loss = centred_loss()
    student, teacher = scores(VIEWS, dtype=torch.float64), scores(2, 1, dtype=torch.float64)
    whole = loss(student, teacher)
    each = [
        loss(student.unflatten(0, (VIEWS, BATCH))[:, i], teacher.unflatten(0, (2, BATCH))[:, i]) for i in range(BATCH)
    ]
    torch.testing.assert_close(whole, torch.stack(each).mean())


def test_half_precision_is_computed_in_single_and_nothing_of_the_scores_size_is_kept():
    student, teacher = scores(VIEWS).bfloat16().requires_grad_(), scores(2, 1).bfloat16()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        value = DinoLoss(K)(student, teacher)
    assert value.dtype == torch.float32
    assert sorted((t.numel(), t.dtype) for t in kept if t.numel() > 1) == [
        (2 * BATCH * K, torch.float32),
        (VIEWS * BATCH * K, torch.bfloat16),
    ]
    value.backward()
    assert student.grad.dtype == torch.bfloat16
    exact, _ = plain(DinoLoss(K), student.float(), teacher.float(), (0, 1))
    torch.testing.assert_close(value, exact)


def test_the_centre_follows_the_teacher_s_mean_when_told_to():
    loss = DinoLoss(K, centre_momentum=0.75)
    teacher = scores(2) + 5
    loss(scores(VIEWS), teacher)
    assert not loss.centre.any(), "a loss alone does not move it"
    for step in range(1, 4):
        loss.update_centre(teacher)
        torch.testing.assert_close(loss.centre, teacher.mean(0, keepdim=True) * (1 - 0.75**step))
    again = DinoLoss(K)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.centre, loss.centre)
    assert torch.equal(copy.deepcopy(loss).centre, loss.centre)


def test_a_centre_is_taken_off_before_the_softmax():
    loss = centred_loss()
    student, teacher = scores(VIEWS, dtype=torch.float64), scores(2, 1, dtype=torch.float64)
    torch.testing.assert_close(loss(student, teacher), DinoLoss(K).double()(student, teacher - loss.centre))


def test_a_schedule_s_temperature_replaces_the_loss_s_own():
    student, teacher = scores(VIEWS), scores(2, 1)
    warm = DinoLoss(K, teacher_temperature=0.5)(student, teacher)
    torch.testing.assert_close(DinoLoss(K)(student, teacher, teacher_temperature=0.5), warm)
    assert not torch.allclose(DinoLoss(K)(student, teacher), warm)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DinoLoss(K, student_temperature=0), "student_temperature=0"),
        (lambda: DinoLoss(K, teacher_temperature=-1), "teacher_temperature=-1"),
        (lambda: DinoLoss(K, centre_momentum=1.5), "centre_momentum=1.5"),
        (lambda: DinoLoss(K)(scores(2), scores(2), (0, 2)), "view numbers below V"),
        (lambda: DinoLoss(K)(scores(2), scores(1), (0, 1)), r"\(3, 12\)"),
        (lambda: DinoLoss(K)(scores(2), scores(1), ()), "expected"),
        (lambda: DinoLoss(K)(scores(1), scores(1), (0,)), "only view"),
    ],
)
def test_what_does_not_belong_together_is_named(call, words):
    with pytest.raises(ConfigError, match=words):
        call()

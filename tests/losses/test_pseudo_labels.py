"""Does a student learn from the teacher's opinion what each method says, and from nothing else?"""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxrvl.errors import ConfigError
from cxrvl.losses.pseudo_labels import (
    AlignedPseudoLabels,
    HardPseudoLabels,
    ProbabilityConsistency,
    SoftPseudoLabels,
)

SURE = torch.tensor([[4.0, 0.1], [-4.0, -0.1], [0.5, 5.0]])
STUDENT = torch.tensor([[0.3, -0.2], [1.0, 2.0], [-0.7, 0.4]])
ALL = [SoftPseudoLabels(), ProbabilityConsistency(), HardPseudoLabels(), AlignedPseudoLabels(2, 0.9, 0.1).eval()]


def test_soft_labels_are_the_release_s_cross_entropy():
    loss, count = SoftPseudoLabels()(STUDENT, SURE)
    torch.testing.assert_close(loss, binary_cross_entropy_with_logits(STUDENT, SURE.sigmoid()))
    assert count == 6


def test_a_low_temperature_sharpens_towards_hard_labels():
    sharp, _ = SoftPseudoLabels(1e-3)(STUDENT, SURE)
    hard, _ = HardPseudoLabels()(STUDENT, SURE)
    torch.testing.assert_close(sharp, hard)


def test_consistency_is_the_squared_distance_of_probabilities():
    loss, _ = ProbabilityConsistency()(STUDENT, SURE)
    torch.testing.assert_close(loss, (STUDENT.sigmoid() - SURE.sigmoid()).square().mean())
    assert ProbabilityConsistency()(SURE, SURE).loss == 0


def test_unsure_entries_do_not_count():
    loss, count = HardPseudoLabels(0.9, 0.1)(STUDENT, SURE)
    assert count == 3
    entries = [(0.3, 1.0), (1.0, 0.0), (0.4, 1.0)]
    expected = sum(binary_cross_entropy_with_logits(torch.tensor(s), torch.tensor(t)) for s, t in entries) / 3
    torch.testing.assert_close(loss, expected)
    assert HardPseudoLabels()(STUDENT, SURE).terms == 6


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_gradients_reach_the_student_alone_and_only_where_entries_count(loss):
    student, teacher = STUDENT.clone().requires_grad_(), SURE.clone().requires_grad_()
    known = torch.tensor([[True, True], [False, True], [True, False]])
    term = loss(student, teacher, known)
    term.loss.backward()
    assert teacher.grad is None
    _, sure = loss.targets(SURE)
    assert ((student.grad != 0) == (sure & known)).all()
    assert term.terms == (sure & known).sum() > 0


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_without_an_entry_the_loss_is_zero_and_so_is_its_gradient(loss):
    student = STUDENT.clone().requires_grad_()
    term = loss(student, SURE, torch.zeros(3, 2, dtype=torch.bool))
    term.loss.backward()
    assert term.loss == 0
    assert term.terms == 0
    assert not student.grad.any()


def test_half_precision_is_computed_in_single():
    loss, _ = SoftPseudoLabels()(STUDENT.bfloat16(), SURE.bfloat16())
    assert loss.dtype == torch.float32


def test_alignment_shifts_probabilities_to_the_labels_prior():
    torch.manual_seed(0)
    loss = AlignedPseudoLabels(1, 0.5, 0.5, momentum=0.0)
    labels = (torch.rand(10_000, 1) < 0.2).float()
    loss.observe_labels(labels)
    loss.observe_labels(torch.cat([labels, torch.full((5000, 1), -1.0), torch.full((5000, 1), float("nan"))]))
    teacher = torch.full((1000, 1), 0.3).logit()
    loss(torch.zeros(1000, 1), teacher)
    aligned = (teacher + loss.shift()).sigmoid()
    torch.testing.assert_close(aligned.mean(), labels.mean(), rtol=0, atol=2e-3)
    # ReMixMatch's formula of the two outcomes.
    ratio, other = labels.mean() / 0.3, (1 - labels.mean()) / 0.7
    torch.testing.assert_close(aligned[0, 0], 0.3 * ratio / (0.3 * ratio + 0.7 * other), rtol=0, atol=2e-3)


def test_alignment_lets_a_rare_label_be_found():
    """A teacher that has seen few positives never passes 0.9 on its own."""
    teacher = torch.linspace(-6, 1, 100).view(-1, 1)
    plain, aligned = AlignedPseudoLabels(1, 0.9, 0.1, align=False), AlignedPseudoLabels(1, 0.9, 0.1)
    for loss in (plain, aligned):
        loss.observe_labels((torch.arange(100) % 2).float().view(-1, 1))
        loss(torch.zeros_like(teacher), teacher)
    decisions = [
        (values * sure).sum().item() for values, sure in (loss.eval().targets(teacher) for loss in (plain, aligned))
    ]
    assert decisions[0] == 0
    assert decisions[1] > 0


def test_priors_start_neutral_stay_put_in_evaluation_and_are_saved():
    loss = AlignedPseudoLabels(2)
    assert not loss.shift().any()
    loss.eval()(STUDENT, SURE)
    assert not loss.predicted.any()
    loss.train()(STUDENT, SURE)
    assert loss.predicted[1].tolist() == [3, 3]
    again = AlignedPseudoLabels(2)
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again.shift(), loss.shift())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SoftPseudoLabels(0.0), "temperature=0.0"),
        (lambda: HardPseudoLabels(0.4, 0.6), "negative <= positive"),
        (lambda: AlignedPseudoLabels(2, momentum=1.0), "momentum=1.0"),
        (lambda: SoftPseudoLabels()(STUDENT, SURE[:2]), "the same images"),
    ],
)
def test_settings_that_cannot_be_are_named(call, words):
    with pytest.raises(ConfigError, match=words):
        call()


def test_alignment_counts_only_what_the_image_s_set_states():
    loss = AlignedPseudoLabels(2).train()
    loss(STUDENT, SURE, torch.tensor([[True, False], [True, False], [False, False]]))
    torch.testing.assert_close(loss.predicted[1], torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(loss.predicted[0], torch.stack([SURE[:2, 0].sigmoid().sum(), torch.tensor(0.0)]))

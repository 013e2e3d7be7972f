"""Are collapses and wrong pseudo-labels seen, and right ones not?"""

import logging
import math

import numpy as np
import pytest
import torch

from cxrvl.evaluation.statistics.auroc import auroc
from cxrvl.tasks.watching import PATIENCE, CollapseWatch, PseudoLabelWatch, spread

K, D = 64, 16


def seen(teacher, embeddings):
    return spread(teacher, torch.zeros(1, K), 0.04, embeddings)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_healthy_teacher_is_sure_of_each_image_and_spreads_over_all():
    state = seen(drawn(512, K), drawn(512, D))
    assert 0 < state["teacher_entropy"] < 0.1 * math.log(K)
    assert state["teacher_kl_uniform"] < 0.1
    assert state["feature_std"] == pytest.approx(1, abs=0.05)
    assert CollapseWatch(K).sign({name: float(value) for name, value in state.items()}) == ""


@pytest.mark.parametrize(
    ("teacher", "embeddings", "sign"),
    [
        (torch.zeros(32, K), drawn(32, D), "the teacher's output is uniform"),
        (torch.eye(K)[:1].repeat(32, 1), drawn(32, D), "gives every image one prototype"),
        (drawn(32, K), torch.ones(32, D), "all images have the same features"),
    ],
)
def test_a_collapse_is_told_once_and_not_at_the_first_sight(caplog, teacher, embeddings, sign):
    watch, state = CollapseWatch(K), seen(teacher, embeddings)
    with caplog.at_level(logging.WARNING, logger="cxrvl"):
        for step in range(PATIENCE - 1):
            watch.see(state, step)
        watch.see(seen(drawn(32, K), drawn(32, D)), PATIENCE)
        assert not caplog.records, "a healthy step between"
        for step in range(2 * PATIENCE):
            watch.see(state, step)
    (record,) = caplog.records
    assert sign in record.getMessage()
    assert "task.dino.teacher_temperature" in record.getMessage()


def test_pseudo_labels_are_scored_over_an_epoch_whatever_the_batches():
    logits, labels = drawn(400, 3) * 2, (drawn(400, 3, seed=1) > 0).float()
    logits[:, 0] += 2 * labels[:, 0]
    labels[::7] = torch.nan
    labels[1::7] = -1
    watch = PseudoLabelWatch()
    for part in torch.arange(400).split(37):
        watch.see(logits[part], labels[part])
    known = ((labels == 0) | (labels == 1)).numpy()
    scores = watch.scores(watch.counts)
    expected = [auroc(logits[known[:, i], i].numpy(), labels[known[:, i], i].numpy()) for i in range(3)]
    assert scores["pseudo_label_auroc"] == pytest.approx(np.mean(expected), abs=2e-3)
    right = [((logits[:, i] > 0).float() == labels[:, i])[known[:, i]].float().mean() for i in range(3)]
    assert scores["pseudo_label_accuracy"] == pytest.approx(np.mean(right), abs=5e-3)


def test_without_any_known_label_nothing_is_said():
    watch = PseudoLabelWatch()
    watch.see(drawn(8, 2), torch.full((8, 2), torch.nan))
    assert watch.scores(watch.counts) == {}
    watch.see(drawn(8, 2), torch.ones(8, 2))
    assert set(watch.scores(watch.counts)) == {"pseudo_label_accuracy"}, "an AUROC needs both classes"
    watch.empty()
    assert watch.state() is None

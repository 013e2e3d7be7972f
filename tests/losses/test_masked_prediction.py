"""Does masked prediction score masked tokens, and nothing else, at the right place?"""

import pytest
import torch
from torch.nn.functional import cross_entropy

from cxrvl.losses.masked_prediction import masked_prediction


def problem():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 7, 8, generator=generator, dtype=torch.float64)
    head = torch.nn.Linear(8, 11, dtype=torch.float64)
    labels = torch.full((3, 7), -100)
    labels[0, 2], labels[0, 6], labels[2, 1] = 4, 10, 0
    return hidden, labels, head


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_is_the_cross_entropy_of_all_logits(shift, chunk):
    results = []
    for whole in (True, False):
        hidden, labels, head = problem()
        torch.nn.init.constant_(head.bias, 0.1)
        torch.manual_seed(1)
        torch.nn.init.normal_(head.weight)
        hidden.requires_grad_()
        if whole:
            logits = head(hidden)[:, : 7 - shift]
            loss = cross_entropy(logits.flatten(0, 1), labels[:, shift:].flatten())
        else:
            found = masked_prediction(hidden, labels, head, shift, chunk)
            loss = found.loss
            assert int(found.scored) == 3
        loss.backward()
        results.append((loss.detach(), hidden.grad, head.weight.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_counts_what_was_predicted():
    hidden = torch.eye(4)[None]
    labels = torch.tensor([[-100, 0, 1, 3]])
    found = masked_prediction(hidden, labels, torch.nn.Identity(), shift=1)
    assert (int(found.scored), int(found.right)) == (3, 2)


def test_nothing_to_score_is_a_loss_of_zero():
    hidden, labels, head = problem()
    hidden.requires_grad_()
    found = masked_prediction(hidden, torch.full_like(labels, -100), head)
    found.loss.backward()
    assert float(found.loss) == 0.0
    assert not hidden.grad.any()


def test_logits_are_made_of_masked_tokens_alone():
    hidden, labels, head = problem()
    sizes = []
    masked_prediction(hidden, labels, lambda states: (sizes.append(len(states)), head(states))[1])
    assert sizes == [3]

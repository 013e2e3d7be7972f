"""Do words light up the places that lie near them?"""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrvl.evaluation.dual.encoder import Passage
from cxrvl.evaluation.dual.maps import word_maps


class Output(NamedTuple):
    embedding: Tensor


class Task:
    """Places are one-hot by what is drawn there; a word's vector is that of its first letter."""

    similarity_scale = 4.0

    def __init__(self):
        self.asked = []

    def encode_patches(self, images):
        return torch.nn.functional.one_hot(images[:, 0].long(), 26).float()

    def predict_step(self, batch, number):
        words = [text[start:end] for text, (start, end) in zip(batch["text"], batch["body"].tolist(), strict=True)]
        self.asked += batch["text"]
        return Output(torch.nn.functional.one_hot(torch.tensor([ord(w[0]) - 97 for w in words]), 26).float())


def test_a_word_lies_where_its_letter_is():
    images = torch.zeros(2, 1, 3, 4)
    images[0, 0, 1, 2], images[1, 0, 2, 0] = 4, 7  # e, h
    text = "an effusion, a heart"
    words = [[Passage(text, 3, 11)], [Passage(text, 15, 20), Passage(text, 3, 11)]]
    task = Task()
    effusion, heart = word_maps(task, images, words)
    assert effusion.shape == (1, 3, 4)
    assert heart.shape == (2, 3, 4)
    assert np.unravel_index(effusion[0].argmax(), (3, 4)) == (1, 2)
    assert np.unravel_index(heart[0].argmax(), (3, 4)) == (2, 0)
    np.testing.assert_allclose(heart.sum((1, 2)), 1, rtol=1e-6)
    assert effusion[0, 1, 2] / effusion[0, 0, 0] == pytest.approx(np.exp(4), rel=1e-4)
    np.testing.assert_allclose(heart[1], 1 / 12, rtol=1e-6)  # no effusion in the second image
    assert set(task.asked) == {text}  # words are read in their text


def test_an_image_without_words_has_no_maps():
    (maps,) = word_maps(Task(), torch.zeros(1, 1, 3, 4), [[]])
    assert maps.shape == (0, 3, 4)

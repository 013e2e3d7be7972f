"""Labelled passes between unlabelled steps, as the release reads its images: when, how long, and after a kill."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.modules import SelfTrainingDataModule
from cxrvl.data.modules.correction import CorrectionOrder
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.transforms import Pipeline, Resize
from cxrvl.errors import ConfigError

LABELLED, UNLABELLED = np.arange(10), np.arange(100, 131)


def order(**options):
    given = {
        "labelled": LABELLED, "rows": UNLABELLED, "batch_size": 4, "seed": 3, "labelled_batch_size": 4, "every": 5,
    }  # fmt: skip
    return CorrectionOrder(**{**given, **options})


def epochs(count, **options):
    one, found = order(**options), []
    for epoch in range(count):
        one.set_epoch(epoch)
        steps = list(one)
        assert len(steps) == len(one)
        found.append(steps)
    return found


def streams(steps):
    return "".join("u" if step.labelled is None else "l" for step in steps)


def test_a_whole_labelled_pass_follows_the_steps_0_and_every_fifth():
    """31 images in batches of 4 are 7 steps per epoch; 10 labelled ones in batches of 4 a pass of 2."""
    assert [streams(steps) for steps in epochs(3)] == ["ulluuuuullu", "uuuulluuu", "uulluuuuull"]
    assert [streams(steps) for steps in epochs(2, every=10**6)] == ["ulluuuuuu", "uuuuuuu"]
    assert streams(epochs(1, every=1)[0]) == "ull" * 7


def test_a_step_holds_one_stream_and_an_epoch_all_unlabelled_images_once():
    for steps in epochs(3):
        seen = [row for step in steps if step.unlabelled is not None for row in step.unlabelled]
        assert len(set(seen)) == len(seen) == 28
        assert all((step.labelled is None) != (step.unlabelled is None) for step in steps)
        passes = [step.labelled for step in steps if step.labelled is not None]
        for one, two in zip(passes[::2], passes[1::2], strict=True):
            assert len({*one, *two}) == 8


def test_corrections_are_reshuffled_unless_they_are_to_be_the_release_s():
    def passes(**options):
        return [step.labelled for steps in epochs(3, **options) for step in steps if step.labelled is not None]

    first, second = passes()[:2], passes()[2:4]
    assert first != second
    assert passes(reshuffle=False)[:2] == passes(reshuffle=False)[2:4] == first


@given(epoch=st.integers(0, 3), start=st.integers(0, 11), accumulate=st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=30)
def test_the_order_is_a_function_of_the_step(epoch, start, accumulate):
    whole, entered = order(accumulate=accumulate), order(accumulate=accumulate)
    for one in (whole, entered):
        one.set_epoch(epoch)
    steps = list(whole)
    entered.start = start
    assert list(entered) == steps[start:]
    assert list(entered) == steps, "the next time from the beginning"


@given(world=st.sampled_from([1, 2]), accumulate=st.sampled_from([1, 2]))
@settings(deadline=None)
def test_devices_and_parts_share_both_streams(world, accumulate):
    shares = [epochs(2, rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    for epoch, steps in enumerate(epochs(2)):
        for number, whole in enumerate(steps):
            parts = [share[epoch][number * accumulate + part] for share in shares for part in range(accumulate)]
            for stream in ("labelled", "unlabelled"):
                rows = [getattr(part, stream) for part in parts]
                if getattr(whole, stream) is None:
                    assert rows == [None] * len(parts)
                else:
                    assert sorted(row for part in rows for row in part) == sorted(getattr(whole, stream))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "data.correction_every is 0; expected unlabelled steps"),
        ({"labelled_batch_size": 11}, "10 images are labelled, fewer than data.labelled_batch_size=11"),
        ({"labelled_batch_size": 3, "world": 2}, "cannot be cut"),
        ({"batch_size": 40}, "fewer than one global batch of 40"),
    ],
)
def test_an_order_that_cannot_be_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        order(**options)


@pytest.fixture
def module(image_options):
    def module(**options):
        given = {
            "source": PhantomSource(images=240, seed=5, size=40), "labels": ["Effusion"], "label_fraction": 0.3,
            "unlabelled_folds": 3, "labelled_batch_size": 8, "batch_size": 8, "ratio": None, "correction_every": 3,
            "transforms": {"evaluate": Pipeline([Resize(24)])}, "generation": 1,
        }  # fmt: skip
        return SelfTrainingDataModule(**{**image_options, **given, **options})

    return module


def test_a_module_hands_out_one_stream_per_step_and_continues_in_a_later_epoch(module, acting, plain):
    data = module()
    data.trainer = acting(epoch=1)
    loader = data.train_dataloader()
    batches = [plain(step) for step in loader]
    assert len(batches) == len(loader.order)
    assert {tuple(batch) for batch in batches} == {("labelled",), ("unlabelled",)}
    assert data.clock() == ("unlabelled", sum("unlabelled" in batch for batch in batches))
    stopped = module()
    stopped.trainer = acting(epoch=1)
    iterator = iter(stopped.train_dataloader())
    assert [plain(next(iterator)) for _ in range(3)] == batches[:3]
    other = module()
    other.trainer = acting(epoch=1)
    other.load_state_dict(stopped.state_dict())
    assert [plain(step) for step in other.train_dataloader()] == batches[3:]


def test_a_ratio_and_a_period_exclude_each_other(module):
    with pytest.raises(ConfigError, match="data.ratio=1.0 with data.correction_every=3"):
        module(ratio=1.0)
    with pytest.raises(ConfigError, match="data.ratio=None with data.correction_every=None"):
        module(correction_every=None)


def test_withheld_labels_are_those_of_the_table(module, acting):
    data = module()
    data.trainer = acting()
    batch = next(step for step in data.train_dataloader() if "unlabelled" in step)["unlabelled"]
    torch.testing.assert_close(batch["withheld"], data.target(batch["index"].numpy()))
    assert "target" not in batch

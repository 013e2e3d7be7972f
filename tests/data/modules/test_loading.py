import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.modules.loading import ResumableLoader, TrainOrder, WholeSplit
from cxrvl.errors import ConfigError

ROWS = np.arange(100, 203)


class Echo:
    """Returns the rows it is asked for."""

    def __len__(self):
        return 1000

    def __getitems__(self, indices):
        return list(indices)


def epoch(**options):
    return list(TrainOrder(ROWS, 16, seed=3, **options))


def test_an_epoch_is_a_permutation_of_whole_batches():
    batches = epoch()
    seen = np.concatenate(batches)
    assert [len(b) for b in batches] == [16] * 6
    assert len(set(seen)) == 96
    assert set(seen) <= set(ROWS)
    assert list(seen) != sorted(seen)


def test_without_drop_last_every_row_is_seen_once():
    assert sorted(np.concatenate(epoch(drop_last=False))) == list(ROWS)


def test_epochs_and_seeds_differ_and_repeat():
    order = TrainOrder(ROWS, 16, seed=3)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert first != second
    assert list(order) == first
    assert list(TrainOrder(ROWS, 16, seed=4)) != first


@given(world=st.sampled_from([1, 2, 4]), accumulate=st.sampled_from([1, 2, 4]))
@settings(deadline=None)
def test_a_global_batch_holds_the_same_images_however_it_is_cut(world, accumulate):
    shares = [epoch(rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    for number, whole in enumerate(epoch()):
        parts = [share[number * accumulate + part] for share in shares for part in range(accumulate)]
        assert sorted(np.concatenate(parts)) == sorted(whole)
        assert {len(part) for part in parts} == {16 // (world * accumulate)}


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ConfigError, match=r"data.batch_size=16 .* 3 device\(s\)"):
        epoch(world=3)
    with pytest.raises(ConfigError, match="fewer than one global batch of 300"):
        TrainOrder(ROWS, 300, seed=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_continues_inside_an_epoch(workers):
    def loader():
        return ResumableLoader(
            Echo(), TrainOrder(ROWS, 16, seed=3), collate_fn=lambda batch: batch, num_workers=workers
        )

    whole = loader()
    whole.order.set_epoch(5)
    batches = list(whole)
    stopped = loader()
    stopped.order.set_epoch(5)
    iterator = iter(stopped)
    for _ in range(2):
        next(iterator)
    continued = loader()
    continued.load_state_dict(stopped.state_dict())
    assert list(continued) == batches[2:]
    assert len(list(continued)) == len(batches)


@given(rows=st.integers(1, 40), size=st.integers(1, 9), world=st.integers(1, 5))
@settings(deadline=None)
def test_devices_take_turns_with_the_batches_of_one_device(rows, size, world):
    """Batches are never cut, every device has as many, and only the last one may be repeated."""
    whole = list(WholeSplit(np.arange(rows), size))
    shares = [list(WholeSplit(np.arange(rows), size, rank, world)) for rank in range(world)]
    assert {len(share) for share in shares} == {len(WholeSplit(np.arange(rows), size, 0, world))}
    in_turn = [batch for turn in zip(*shares, strict=True) for batch in turn]
    assert in_turn[: len(whole)] == whole
    assert all(batch == whole[-1] for batch in in_turn[len(whole) :])
    assert len(in_turn) - len(whole) < world

"""What the tests of the data modules share: stores, a stand-in for the trainer, and batches as one can compare them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cxrvl.data.images import StoreSpec
from cxrvl.data.transforms import Pipeline, RandomAffine, Resize


@pytest.fixture(scope="session")
def module_stores(tmp_path_factory):
    return str(tmp_path_factory.mktemp("module_stores"))


@pytest.fixture
def image_options(module_stores):
    """Options of a small image data module, without its source."""
    return {
        "store": StoreSpec(32),
        "store_root": module_stores,
        "transforms": {"train": Pipeline([Resize(24), RandomAffine(degrees=20)]), "evaluate": Pipeline([Resize(24)])},
        "input_size": 24,
        "batch_size": 8,
        "prepare_workers": 0,
        "evaluation_batch_size": 10,
    }


@pytest.fixture
def acting():
    """Make a stand-in for Lightning's trainer."""

    def acting(*, training=True, epoch=0, accumulate=1, rank=0, world=1):
        return SimpleNamespace(
            training=training, current_epoch=epoch, global_rank=rank, world_size=world,
            accumulate_grad_batches=accumulate, state=SimpleNamespace(fn="fit"),
        )  # fmt: skip

    return acting


@pytest.fixture
def plain():
    """Turn a batch into values that compare with ==."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(part) for name, part in value.items()}
        if isinstance(value, torch.Tensor):
            return str(value.dtype), np.nan_to_num(value.numpy().astype(np.float64), nan=7).tolist()
        return value

    return plain

"""What a batch for classification holds, in training and in evaluation, and which data are refused."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cxrvl.data.images import StoreSpec
from cxrvl.data.modules import ClassificationDataModule
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.transforms import CenterCrop, Pipeline, RandomAffine, Resize
from cxrvl.errors import ConfigError, DataError

LABELS = ["Effusion", "Nodule", "Cardiomegaly"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return str(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def module(stores):
    def module(**options):
        given = {
            "source": PhantomSource(images=120, seed=5, size=40),
            "store": StoreSpec(32),
            "store_root": stores,
            "transforms": {"train": Pipeline([Resize(24), RandomAffine(degrees=20)]), "evaluate": Pipeline([Resize(24)])},
            "input_size": 24,
            "batch_size": 8,
            "labels": LABELS,
            "prepare_workers": 0,
            "evaluation_batch_size": 10,
        }  # fmt: skip
        return ClassificationDataModule(**{**given, **options})

    return module


def trainer(*, training, epoch=0, accumulate=1):
    return SimpleNamespace(
        training=training, current_epoch=epoch, global_rank=0, world_size=1, accumulate_grad_batches=accumulate
    )


def first_batch(data, loader):
    return data.on_after_batch_transfer(next(iter(loader)), 0)


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.uint8), (16, torch.uint16)])
def test_a_batch_holds_what_the_contract_says(module, bits, dtype):
    data = module(store=StoreSpec(32, bits=bits))
    data.trainer = trainer(training=True)
    raw = next(iter(data.train_dataloader()))
    assert raw["image"].dtype == dtype
    batch = data.on_after_batch_transfer(raw, 0)
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items()} == {
        "image": ((8, 1, 24, 24), torch.float32),
        "target": ((8, 3), torch.float32),
        "index": ((8,), torch.int64),
        "fov": ((8, 4), torch.float32),
    }
    assert 0 <= batch["image"].min() < batch["image"].max() <= 1
    rows = data.table.frame.iloc[batch["index"].numpy()]
    assert set(rows["split"]) == {"train"}
    np.testing.assert_array_equal(batch["target"], rows[LABELS].to_numpy(np.float32))


def test_evaluation_sees_every_image_once_in_order_and_unchanged_by_chance(module):
    data = module()
    data.trainer = trainer(training=False)
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.split_dataloader("val", "test")]
    index = torch.cat([batch["index"] for batch in batches]).numpy()
    np.testing.assert_array_equal(index, np.concatenate([data.table.split("val"), data.table.split("test")]))
    assert [len(batch["index"]) for batch in batches][:-1] == [10] * (len(batches) - 1)
    again = [data.on_after_batch_transfer(batch, 0)["image"] for batch in data.split_dataloader("val", "test")]
    assert all(torch.equal(a, b["image"]) for a, b in zip(again, batches, strict=True))
    image = data.source.read(data.table.frame["image"].iloc[index[0]])
    seen = batches[0]["image"][0, 0].numpy()
    assert np.corrcoef(seen.ravel(), resized(image, 24).ravel())[0, 1] > 0.99


def resized(image, size):
    return np.clip(np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR), np.float64), 0, 1)


def test_predictions_are_of_the_splits_an_evaluator_asks_for(module):
    data = module()
    data.predict_splits = ("val",)
    seen = np.concatenate([batch["index"] for batch in data.predict_dataloader()])
    np.testing.assert_array_equal(seen, data.table.split("val"))
    np.testing.assert_array_equal(np.concatenate([b["index"] for b in data.val_dataloader()]), seen)


@pytest.mark.parametrize(
    ("policy", "steps", "expected"),
    [
        ("squash", [Resize(24)], (0, 0, 1, 1)),
        ("squash", [Resize(30), CenterCrop(24)], (0.1, 0.1, 0.9, 0.9)),
    ],
)
def test_the_field_of_view_follows_the_evaluation_transforms(module, policy, steps, expected):
    data = module(
        store=StoreSpec(32, policy), transforms={"train": Pipeline([Resize(24)]), "evaluate": Pipeline(steps)}
    )
    data.trainer = trainer(training=False)
    np.testing.assert_allclose(first_batch(data, data.val_dataloader())["fov"][3], expected, atol=1e-6)


def test_augmentation_depends_on_seed_epoch_and_image_alone(module):
    def images(epoch, **options):
        data = module(**options)
        data.trainer = trainer(training=True, epoch=epoch)
        raw = next(iter(data.split_dataloader("train")))
        return data.on_after_batch_transfer(raw, 0)["image"]

    first = images(0)
    torch.manual_seed(99)
    assert torch.equal(images(0), first)
    assert not torch.equal(images(1), first)
    assert not torch.equal(images(0, seed=1), first)
    torch.testing.assert_close(images(0, evaluation_batch_size=4), first[:4], msg="whatever else is in the batch")


def test_overfitting_trains_and_validates_on_the_same_plain_images(module):
    data = module(overfit_batches=2)
    data.trainer = trainer(training=True)
    expected = set(data.table.split("train")[:16])
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    assert set(np.concatenate([b["index"] for b in batches])) == expected
    assert set(np.concatenate([b["index"] for b in data.val_dataloader()])) == expected
    data.trainer = trainer(training=False)
    plain = {}
    for batch in data.val_dataloader():
        images = data.on_after_batch_transfer(batch, 0)["image"]
        plain |= dict(zip(batch["index"].tolist(), images, strict=True))
    for batch in batches:
        for row, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            assert torch.equal(image, plain[row])
    assert set(data.rows("test")) == set(data.table.split("test"))


def test_a_limit_keeps_so_many_images_of_each_split(module):
    table = module(limit=6).table
    assert {name: len(table.split(name)) for name in ("train", "val", "test")} == {"train": 6, "val": 6, "test": 6}
    with pytest.raises(ConfigError, match=r"data.limit is 0"):
        _ = module(limit=0).table


def test_labels_are_chosen_and_ordered(module):
    assert module(labels=["Nodule", "Effusion"]).table.labels == ("Nodule", "Effusion")
    assert len(module(labels=None).table.labels) == 6
    with pytest.raises(DataError, match="asks for Fracture"):
        _ = module(labels=["Fracture"]).table


def test_transforms_of_other_names_or_sizes_are_refused(module):
    pipeline = Pipeline([Resize(24)])
    with pytest.raises(ConfigError, match=r"has the keys \['train', 'val'\]; expected train and evaluate"):
        module(transforms={"train": pipeline, "val": pipeline})
    for training in (True, False):
        data = module(input_size=20)
        data.trainer = trainer(training=training)
        with pytest.raises(ConfigError, match=r"return \(24, 24\) px, but data.input_size is 20"):
            first_batch(data, data.train_dataloader())
    data = module(transforms={"train": pipeline, "evaluate": Pipeline([Resize(24), RandomAffine(degrees=20)])})
    data.trainer = trainer(training=False)
    with pytest.raises(ConfigError):
        first_batch(data, data.val_dataloader())


def test_an_absent_root_is_refused(module):
    with pytest.raises(DataError, match=r"data.root=/nowhere is no folder"):
        module(root="/nowhere")


def test_labels_that_cannot_be_learnt_are_refused_when_training(module):
    data = module(source=PhantomSource(images=120, seed=5, size=40, prevalence={"Nodule": 0.0}))
    data.setup("predict")
    with pytest.raises(DataError, match="no positive image for Nodule"):
        data.setup("fit")
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"))
    with pytest.raises(DataError, match="no positive image for Nodule"):
        data.prepare_data()
    assert data._store is None, "no image was decoded for it"


class Broken(PhantomSource):
    """A phantom of which some images cannot be read."""

    def read_many(self, image_keys):
        raise DataError("one at a time")

    def read(self, image_key):
        if image_key.endswith(("3", "7")):
            raise DataError(f"{image_key} is broken")
        return super()._phantom(np.array([self._index(image_key)])).render(self.size)[0]


def test_unreadable_images_leave_the_table_only_where_allowed(module, tmp_path, caplog):
    source = Broken(images=60, seed=5, size=40)
    with pytest.raises(DataError, match=r"12 of 60 images cannot be read \(0 are allowed\)"):
        _ = module(source=source, store_root=str(tmp_path)).store
    data = module(source=source, store_root=str(tmp_path), max_unreadable=12)
    assert len(data.table) == 48
    assert not data.table.frame["image"].str.endswith(("3", "7")).any()
    assert "12 unreadable image(s) left out" in data.table.notes[-1]
    assert "12 unreadable image(s) left out" in caplog.text
    data.trainer = trainer(training=True)
    batch = first_batch(data, data.train_dataloader())
    rows = data.table.frame.iloc[batch["index"].numpy()]
    np.testing.assert_array_equal(batch["target"], rows[LABELS].to_numpy(np.float32))
    key = rows["image"].iloc[0]
    stored = data.dataset().store.pixels[data.store.rows(data.table)[int(batch["index"][0])]]
    np.testing.assert_array_equal(stored, np.rint(resized(source.read(key), 32) * 255))


def test_unstated_labels_stay_unstated(module):
    data = module()
    frame = data.table.frame
    frame.loc[frame.index[0], "Nodule"] = math.nan
    assert math.isnan(data.extra(np.array([0]))["target"][0, 1])


def test_a_module_continues_inside_an_epoch(module):
    data = module()
    data.trainer = trainer(training=True)
    whole = [batch["index"] for batch in data.train_dataloader()]
    stopped = iter(data.train_dataloader())
    next(stopped)
    state = data.state_dict()
    assert state == {"epoch": 0, "handed_out": 1}
    other = module()
    other.trainer = trainer(training=True)
    other.load_state_dict(state)
    rest = [batch["index"] for batch in other.train_dataloader()]
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[1:], strict=True))
    assert module().state_dict() == {}

"""Labelled and unlabelled images in one step: who is in which stream, how often, and after a kill."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.images import StoreSpec
from cxrvl.data.modules import SelfTrainingDataModule
from cxrvl.data.modules.interleaving import InterleavedOrder
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.transforms import Pipeline, Resize
from cxrvl.data.transforms.corruptions import RandomCorruption
from cxrvl.errors import ConfigError, DataError

LABELS = ["Effusion", "Cardiomegaly"]
LABELLED, UNLABELLED = np.arange(20), np.arange(100, 203)


@pytest.fixture
def module(image_options):
    def module(**options):
        given = {
            "source": PhantomSource(images=240, seed=5, size=40), "labels": LABELS, "label_fraction": 0.3,
            "unlabelled_folds": 3, "labelled_batch_size": 4, "batch_size": 8,
            "transforms": {"evaluate": Pipeline([Resize(24)])},
        }  # fmt: skip
        return SelfTrainingDataModule(**{**image_options, **given, **options})

    return module


def steps_of(data, acting, epoch=0, **place):
    data.trainer = acting(epoch=epoch, **place)
    loader = data.train_dataloader()
    loader.order.set_epoch(epoch)
    return list(loader)


def rows_of(steps, stream):
    return [step[stream]["index"].tolist() for step in steps if stream in step]


def test_a_step_holds_what_the_contract_says(module, acting):
    data = module(store=StoreSpec(32, bits=8))
    data.trainer = acting()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    shapes = {name: {k: (tuple(v.shape), v.dtype) for k, v in part.items()} for name, part in batch.items()}
    image = {"image": ((4, 1, 32, 32), torch.uint8), "index": ((4,), torch.int64), "fov": ((4, 4), torch.float32)}
    assert shapes == {
        "labelled": {**image, "target": ((4, 2), torch.float32)},
        "unlabelled": {
            **{name: ((8, *shape[1:]), dtype) for name, (shape, dtype) in image.items()},
            "withheld": ((8, 2), torch.float32),
        },
    }
    frame = data.table.frame
    for name, split in (("labelled", "train"), ("unlabelled", "unlabelled")):
        rows = batch[name]["index"].numpy()
        assert set(frame["split"].iloc[rows]) == {split}
        stored = data.store.take(data.store.rows(data.table)[rows])
        np.testing.assert_array_equal(batch[name]["image"][:, 0], stored, err_msg="images are untouched")
    np.testing.assert_array_equal(
        batch["labelled"]["target"], frame[LABELS].to_numpy(np.float32)[batch["labelled"]["index"].numpy()]
    )


def test_no_patient_is_in_two_streams_and_evaluation_is_as_ever(module, acting):
    data = module()
    steps = steps_of(data, acting)
    patients = [
        set(data.table.frame["patient"].iloc[np.concatenate(rows_of(steps, s))]) for s in ("labelled", "unlabelled")
    ]
    assert not patients[0] & patients[1]
    data.trainer = acting(training=False)
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert batch["image"].shape == (10, 1, 24, 24)
    assert batch["image"].dtype == torch.float32
    assert batch["target"].shape == (10, 2)


def test_generations_use_the_folds_cumulatively(module, acting):
    seen = {}
    for generation in (1, 2, 3, None):
        data = module(generation=generation, batch_size=1, labelled_batch_size=1, ratio=0.1)
        seen[generation] = {row for rows in rows_of(steps_of(data, acting), "unlabelled") for row in rows}
        folds = set(data.table.frame["unlabelled_fold"].iloc[sorted(seen[generation])])
        assert folds == set(range(generation or 3))
    assert seen[1] < seen[2] < seen[3] == seen[None]
    first = module(generation=0, batch_size=4)
    steps = steps_of(first, acting)
    assert set(steps[0]) == {"labelled"}
    labelled = np.concatenate(rows_of(steps, "labelled"))
    assert set(labelled) <= set(first.table.split("train"))
    assert len(set(labelled)) == len(labelled) == len(first.table.split("train")) // 4 * 4


def order(**options):
    given = {
        "labelled": LABELLED,
        "rows": UNLABELLED,
        "batch_size": 8,
        "seed": 3,
        "labelled_batch_size": 4,
        "ratio": 1.0,
    }
    return InterleavedOrder(**{**given, **options})


def epochs(count, **options):
    one, steps = order(**options), []
    for epoch in range(count):
        one.set_epoch(epoch)
        steps += list(one)
    return steps


@given(ratio=st.sampled_from([1.0, 0.5, 0.45, 1 / 3, 0.07]), count=st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_the_ratio_is_kept_at_any_time_and_the_streams_are_even(ratio, count):
    steps = epochs(count, ratio=ratio)
    assert len(steps) == 12 * count
    parts = 0
    for number, step in enumerate(steps, 1):
        parts += step.labelled is not None
        assert parts == int(number * ratio + 1e-6)
    if ratio < 1:
        assert steps[0].labelled is None
    labelled = [row for step in steps if step.labelled is not None for row in step.labelled]
    for start in range(0, len(labelled) - 19, 20):
        assert sorted(labelled[start : start + 20]) == list(LABELLED), "all come up before any comes again"
    if len(labelled) >= 40:
        assert labelled[:20] != labelled[20:40], "reshuffled"
    for epoch in range(count):
        rows = [row for step in steps[epoch * 12 : epoch * 12 + 12] for row in step.unlabelled]
        assert len(set(rows)) == 96


@given(epoch=st.integers(0, 3), start=st.integers(0, 12), accumulate=st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=30)
def test_the_order_is_a_function_of_the_step(epoch, start, accumulate):
    whole = order(ratio=0.45, accumulate=accumulate)
    whole.set_epoch(epoch)
    steps = list(whole)
    entered = order(ratio=0.45, accumulate=accumulate)
    entered.set_epoch(epoch)
    entered.start = start
    assert list(entered) == steps[start:]
    assert list(entered) == steps, "the next time from the beginning"


@given(world=st.sampled_from([1, 2]), accumulate=st.sampled_from([1, 2]))
@settings(deadline=None)
def test_devices_and_parts_share_both_streams(world, accumulate):
    shares = [epochs(2, ratio=0.5, rank=rank, world=world, accumulate=accumulate) for rank in range(world)]
    for number, whole in enumerate(epochs(2, ratio=0.5)):
        parts = [share[number * accumulate + part] for share in shares for part in range(accumulate)]
        assert sorted(row for part in parts for row in part.unlabelled) == sorted(whole.unlabelled)
        assert {part.labelled is None for part in parts} == {whole.labelled is None}
        if whole.labelled is not None:
            assert sorted(row for part in parts for row in part.labelled) == sorted(whole.labelled)
            assert {len(part.labelled) for part in parts} == {4 // (world * accumulate)}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_module_continues_in_the_second_epoch_and_workers_change_nothing(module, acting, plain, workers):
    options = {"ratio": 0.5, "num_workers": workers}
    batches = [plain(step) for step in steps_of(module(ratio=0.5), acting, epoch=1)]
    assert any("labelled" not in batch for batch in batches)
    stopped = module(**options)
    stopped.trainer = acting(epoch=1)
    loader = stopped.train_dataloader()
    loader.order.set_epoch(1)
    iterator = iter(loader)
    assert [plain(next(iterator)) for _ in range(3)] == batches[:3]
    other = module(**options)
    other.trainer = acting(epoch=1)
    other.load_state_dict(stopped.state_dict())
    assert [plain(step) for step in other.train_dataloader()] == batches[3:]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 0}, "data.ratio is 0; expected labelled parts per step"),
        ({"ratio": 1.5}, "data.ratio is 1.5"),
        ({"labelled_batch_size": 3, "world": 2}, r"data.labelled_batch_size=3 cannot be cut evenly into 2 device\(s\)"),
        ({"labelled_batch_size": 30}, "20 images are labelled, fewer than data.labelled_batch_size=30"),
    ],
)
def test_an_order_that_cannot_be_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        order(**options)


def test_streams_that_are_not_there_are_refused(module, acting):
    def fit(**options):
        data = module(**options)
        data.trainer = acting()
        data.setup("fit")
        return data

    with pytest.raises(DataError, match=r"no image of 'phantom' is unlabelled; set data.label_fraction"):
        fit(label_fraction=None, unlabelled_folds=None)
    with pytest.raises(ConfigError, match=r"data.generation=1 needs unlabelled folds; set data.unlabelled_folds"):
        fit(generation=1, unlabelled_folds=None)
    emptied = module(generation=2)
    frame = emptied.table.frame
    emptied.use_table(replace(emptied.table, frame=frame[frame["unlabelled_fold"] != 1].reset_index(drop=True)))
    emptied.trainer = acting()
    with pytest.raises(DataError, match=r"unlabelled fold 1 of .* holds no image, so generation 2 would repeat"):
        emptied.setup("fit")
    for generation in (4, -1):
        with pytest.raises(ConfigError, match=f"data.generation is {generation}; expected 0 to 3: there are 3 folds"):
            fit(generation=generation)
    with pytest.raises(DataError, match="no positive image for Nodule"):
        fit(labels=["Nodule"], source=PhantomSource(images=240, seed=5, size=40, prevalence={"Nodule": 0.0}))
    with pytest.raises(ConfigError, match=r"transforms has the keys \['evaluate', 'train'\]; expected evaluate"):
        module(transforms={"train": Pipeline([Resize(24)]), "evaluate": Pipeline([Resize(24)])})
    assert len(fit(overfit_batches=2).unlabelled()) == 16


def test_the_comparator_of_a_generation_learns_from_the_same_images(module, acting):
    for count in (0, 1, 3):
        data = module(generation=0, labels_of_folds=count, batch_size=1)
        seen = {row for rows in rows_of(steps_of(data, acting), "labelled") for row in rows}
        distl = module(generation=count, batch_size=1, labelled_batch_size=1)
        assert seen == set(distl.unlabelled()) | set(distl.rows("train"))
        assert data.clock() == ("labelled", len(seen))
    with pytest.raises(ConfigError, match=r"labels_of_folds=1 reveals labels.*set data.generation=0, it is 1"):
        module(generation=1, labels_of_folds=1)


def test_revealed_labels_are_as_noisy_as_the_others_which_stay_as_they_were(module):
    clean, noisy = (module(generation=0, label_noise=noise) for noise in (None, 0.4))
    before, initial, ones = clean.table.targets(), noisy.table.targets(), []
    for count in (1, 3):
        revealed = module(generation=0, labels_of_folds=count, label_noise=0.4)
        after, train = revealed.table.targets(), revealed.rows("train")
        np.testing.assert_array_equal(after[train], initial[train])
        more = np.setdiff1d(revealed.labelled(), train)
        assert (after[more] != before[more]).mean() == pytest.approx(0.4, abs=0.15)
        rest = np.setdiff1d(np.arange(len(before)), revealed.labelled())
        np.testing.assert_array_equal(after[rest], before[rest])
        fold = revealed.table.frame["unlabelled_fold"].to_numpy() == 0
        ones.append(after[fold])
    np.testing.assert_array_equal(*ones)
    said = re.search(r"of (\d+) positive and \d+ of (\d+) negative", revealed.table.notes[-1])
    every = len(PhantomSource(images=2, seed=5, size=40).table().labels)
    assert sum(map(int, said.groups())) == len(revealed.labelled()) * every


class Twins(PhantomSource):
    """A source in which one image shows what another shows."""

    twins: tuple[str, str] = ("", "")

    def read(self, key):
        return super().read(self.twins[1] if key == self.twins[0] else key)

    def read_many(self, keys):
        return super().read_many([self.twins[1] if key == self.twins[0] else key for key in keys])


@pytest.mark.parametrize(("part", "kind"), [("unlabelled", "unlabelled"), ("train", "labelled")])
def test_a_training_image_that_is_a_test_image_by_another_name_is_refused(module, acting, tmp_path, part, kind):
    """Patients apart are checked with the split; here only the pixels tell."""
    source = Twins(images=240, seed=5, size=40)
    data = module(source=source, store_root=str(tmp_path))
    data.trainer = acting()
    frame = data.table.frame
    learnt, test = (frame["image"][frame["split"] == one].iloc[1] for one in (part, "test"))
    source.twins = (learnt, test)
    with pytest.raises(DataError, match=f"^1 {kind} image.*first {learnt} those of {test}.*data duplicates"):
        data.setup("fit")
    pixels = data.store.take(data.store.rows(data.table))
    assert sum(np.array_equal(pixels[frame["image"] == learnt][0], other) for other in pixels) == 2


def test_a_split_file_says_who_is_labelled(module, acting, tmp_path):
    table = module(label_fraction=None, unlabelled_folds=None).table.frame
    people = table.drop_duplicates("patient")[["patient", "split"]].sort_values("patient", ignore_index=True)
    train = people["split"] == "train"
    labelled = train & (people.index % 3 == 0)
    fold = np.where(train & ~labelled, (people.index % 2).astype(str), "")
    marks = np.where(train, labelled.astype(int).astype(str), "")
    pd.DataFrame({**people, "labelled": marks, "fold": fold}).to_csv(tmp_path / "parts.csv", index=False)
    data = module(
        split_file=str(tmp_path / "parts.csv"), label_fraction=None, unlabelled_folds=None, generation=1,
        batch_size=1, labelled_batch_size=1,
    )  # fmt: skip
    steps = steps_of(data, acting)
    patient = data.table.frame["patient"]
    assert set(patient.iloc[np.concatenate(rows_of(steps, "labelled"))]) <= set(people["patient"][labelled])
    assert set(patient.iloc[np.concatenate(rows_of(steps, "unlabelled"))]) == set(people["patient"][fold == "0"])


def test_the_configs_of_the_generations_build(tmp_path, acting):
    for generation, streams in ((0, {"labelled"}), (3, {"labelled", "unlabelled"})):
        config = resolved(compose_config([
            "data=phantom_self_training", "data.source.images=200", "data.store.size=32", f"data.generation={generation}",
            "data.batch_size=8", "data.labelled_batch_size=4", f"paths.stores={tmp_path}", "+data.prepare_workers=0",
        ]))  # fmt: skip
        data = build(config["data"])
        data.trainer = acting()
        data.prepare_data()
        data.setup("fit")
        assert set.union(*(set(step) for step in data.train_dataloader())) == streams


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": "abc"}, r"data\.ratio is 'abc'; expected a number"),
        ({"ratio": float("nan")}, r"data\.ratio is nan; expected a number"),
        ({"generation": 1.5}, r"data\.generation is 1\.5; expected a whole number"),
        ({"generation": "abc"}, r"data\.generation is 'abc'; expected a whole number"),
        ({"label_fraction": "abc"}, r"data\.label_fraction is 'abc'; expected a number"),
        ({"labelled_batch_size": 0}, r"data\.labelled_batch_size is 0; expected a whole number of at least 1"),
        ({"ratio": None, "correction_every": 1.5}, r"data\.correction_every is 1\.5; expected a whole number"),
        ({"pseudo_labels_of": "some"}, r"data\.pseudo_labels_of is 'some'; expected all or stated"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_their_key(module, options, words):
    with pytest.raises(ConfigError, match=words):
        module(**options).table  # noqa: B018


def test_a_labelled_pass_that_devices_cannot_share_is_refused_by_its_own_key(module, acting):
    data = module(ratio=None, correction_every=5, labelled_batch_size=3, batch_size=8)
    data.trainer = acting(world=2)
    with pytest.raises(ConfigError, match=r"data\.labelled_batch_size=3 cannot be cut evenly into 2 device"):
        data.order()


def test_three_sets_that_state_one_label_each_mix(tmp_path, acting):
    """An image gets pseudo-labels of what its data set is about; a set without any label gets all."""
    words = ["data=mixture_self_training", "data.store.size=32", "data.batch_size=8", "data.labelled_batch_size=4",
             "data.generation=null", f"paths.stores={tmp_path}", "+data.prepare_workers=0"]  # fmt: skip
    config = resolved(compose_config(words))
    for source in config["data"]["source"]["sources"]:
        source["images"] = 160
    data = build(config["data"])
    data.trainer = acting()
    data.prepare_data()
    data.setup("fit")
    about = dict(zip(("tuberculosis", "pneumothorax", "covid"), np.eye(3, dtype=bool), strict=True))
    sets = data.table.frame["dataset"].to_numpy()
    seen = set()
    for step in data.train_dataloader():
        part = step["unlabelled"]
        for row, known in zip(part["index"].tolist(), part["known"].numpy(), strict=True):
            np.testing.assert_array_equal(known, about[sets[row]])
            seen.add(sets[row])
    assert seen == set(about)
    frame = data.table.frame.copy()
    frame.loc[frame["dataset"] == "covid", ["Tuberculosis", "Pneumothorax", "COVID-19"]] = np.nan
    data.use_table(replace(data.table, frame=frame))
    data.__dict__.pop("_targets", None)
    assert data.stated()[sets == "covid"].all()
    config["data"]["pseudo_labels_of"] = "all"
    assert build(config["data"]).pseudo_labels_of == "all"


def test_some_unlabelled_images_are_spoiled_alike_in_every_epoch_and_for_every_seed(module, acting):
    corruption = RandomCorruption(0.4, ["noise", "contrast"], [4, 5])
    seen = {}
    for seed in (0, 1):
        clean, spoilt = module(seed=seed), module(seed=seed, unlabelled_corruption=corruption)
        for epoch in (0, 1):
            for step in steps_of(spoilt, acting, epoch):
                labelled = step.get("labelled", {}).get("image")
                batch = spoilt.on_after_batch_transfer(step, 0)
                if labelled is not None:
                    assert torch.equal(batch["labelled"]["image"], labelled)
                assert batch["unlabelled"]["image"].dtype == step["unlabelled"]["image"].dtype
                for row, image, before in zip(
                    batch["unlabelled"]["index"].tolist(), batch["unlabelled"]["image"], step["unlabelled"]["image"],
                    strict=True,
                ):  # fmt: skip
                    assert torch.equal(seen.setdefault(row, (image, before))[0], image)
    changed = np.mean([not torch.equal(image, before) for image, before in seen.values()])
    assert 0.25 < changed < 0.55
    assert spoilt.table.notes[-1].startswith(
        "unlabelled images corrupted: a share of 0.4 by noise, contrast at severity 4, 5"
    )
    spoilt.use_table(clean.table)
    assert spoilt.table.notes[-1].startswith("unlabelled images corrupted")

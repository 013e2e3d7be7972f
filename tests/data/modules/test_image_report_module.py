"""Pairs of images and reports: which image comes with which text, in which epoch, and from where."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.modules import ClassificationDataModule, ImageReportDataModule
from cxrvl.data.sources.manifest import Manifest
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import ConfigError, DataError

VIEWS = ("LATERAL", "PA", "AP")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Thirty studies of one to three views each, the lateral one first."""
    root = tmp_path_factory.mktemp("studies")
    rng, rows = np.random.default_rng(0), []
    for study in range(30):
        for place in range(1 + study % 3):
            name = f"{study:02d}_{place}.png"
            Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(root / name)
            split = "train" if study < 20 else "val" if study < 25 else "test"
            text = "" if study in (4, 9) else f"The heart is of normal size. No effusion is seen. Study {study}."
            rows.append((name, f"p{study}", f"s{study}", VIEWS[place], split, study % 2, text))
    columns = ["file", "who", "study", "view", "part", "effusion", "words"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "table.csv", index=False)
    return Manifest(
        root, "table.csv", "studies",
        {"image": "file", "patient": "who", "study": "study", "view": "view", "split": "part", "findings": "words"},
        {"Effusion": "effusion"},
    )  # fmt: skip


@pytest.fixture
def module(image_options, studies):
    def module(**options):
        text = {"default": {"policy": "findings", "style": {"synonyms": 1.0, "shuffle": 1.0}}}
        return ImageReportDataModule(
            **{**image_options, "source": studies, "text": text, "empty": "skip", "batch_size": 4, **options}
        )

    return module


def epoch_of(data, acting, epoch=0, **place):
    data.trainer = acting(epoch=epoch, **place)
    loader = data.train_dataloader()
    loader.order.set_epoch(epoch)
    return list(loader)


def joined(batches, name):
    return [item for batch in batches for item in (batch[name].tolist() if name != "text" else batch[name])]


def test_a_batch_holds_what_the_contract_says(module, acting):
    data = module()
    data.trainer = acting()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items() if k != "text"} == {
        "image": ((4, 1, 24, 24), torch.float32),
        "index": ((4,), torch.int64),
        "fov": ((4, 4), torch.float32),
        "target": ((4, 1), torch.float32),
        "study": ((4,), torch.int64),
        "instruction": ((4, 2), torch.int64),
        "body": ((4, 2), torch.int64),
        "parts": ((4, len(SECTIONS), 2), torch.int64),
    }
    for row, study, text, target in zip(
        *(joined([batch], n) for n in ("index", "study", "text", "target")), strict=True
    ):
        line = data.table.frame.iloc[row]
        assert line["study"] == data.reports.frame["study"].iloc[study]
        assert f" {line['study'][1:]}." in text
        assert target == [line["Effusion"]]


def test_pixels_and_augmentation_are_those_of_the_other_image_modules(module, image_options, studies, acting):
    ours, theirs = module(), ClassificationDataModule(**{**image_options, "source": studies, "batch_size": 4})
    for data in (ours, theirs):
        data.trainer = acting(epoch=2)
    assert ours.store.folder == theirs.store.folder
    mine = {}
    for batch in ours.split_dataloader("train"):
        done = ours.on_after_batch_transfer(batch, 0)
        mine |= dict(zip(done["index"].tolist(), done["image"], strict=True))
    compared = 0
    for batch in theirs.split_dataloader("train"):
        done = theirs.on_after_batch_transfer(batch, 0)
        for row, image in zip(done["index"].tolist(), done["image"], strict=True):
            if row in mine:
                assert torch.equal(mine[row], image)
                compared += 1
    assert compared == len(mine)


@pytest.mark.parametrize("pairing", ["all", "one_per_study", "frontal_first", "random_view"])
def test_pairings_read_the_images_they_say(module, acting, pairing):
    data = module(pairing=pairing, batch_size=1)
    frame = data.table.frame
    images = frame[(frame["split"] == "train") & ~frame["study"].isin(["s4", "s9"])]
    rows = [joined(epoch_of(data, acting, epoch), "index") for epoch in range(6)]
    several = images.groupby("study").filter(lambda group: len(group) > 1)["study"].unique()
    for seen in rows:
        if pairing == "all":
            assert sorted(seen) == images.index.tolist()
            continue
        chosen = frame.iloc[seen].set_index("study")
        assert sorted(chosen.index) == sorted(images["study"].unique()), "every study once"
        if pairing != "random_view":
            assert set(chosen.loc[several, "view"]) == {"LATERAL" if pairing == "one_per_study" else "PA"}
    assert len({tuple(sorted(seen)) for seen in rows}) == (6 if pairing == "random_view" else 1)
    if pairing == "random_view":
        assert set(frame.iloc[np.concatenate(rows)]["view"]) == set(VIEWS)
        evaluated = frame.iloc[joined(data.split_dataloader("val", "test"), "index")]
        assert evaluated.groupby("study")["view"].last().loc[["s20", "s22", "s28"]].tolist() == ["PA", "PA", "PA"]
        again = joined(epoch_of(module(pairing=pairing, batch_size=3), acting, 5), "index")
        assert set(again) <= set(rows[5]), "the view is a function of seed, epoch and study"


def test_images_of_a_study_share_its_text_and_epochs_differ(module, acting):
    texts = {}
    for epoch in (0, 1):
        batches = epoch_of(module(batch_size=1), acting, epoch)
        by_study = {}
        for study, text in zip(joined(batches, "study"), joined(batches, "text"), strict=True):
            assert by_study.setdefault(study, text) == text
        texts[epoch] = by_study
    assert sum(texts[0][study] != texts[1][study] for study in texts[0]) > len(texts[0]) / 2
    plain = joined(module().split_dataloader("val"), "text")
    assert all(text.startswith("The heart is of normal size. No effusion is seen. Study") for text in plain)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_module_continues_inside_an_epoch_and_workers_change_nothing(module, acting, plain, workers):
    options = {"pairing": "random_view", "num_workers": workers}
    batches = [plain(batch) for batch in epoch_of(module(pairing="random_view"), acting)]
    stopped = module(**options)
    stopped.trainer = acting()
    iterator = iter(stopped.train_dataloader())
    assert plain(next(iterator)) == batches[0]
    other = module(**options)
    other.trainer = acting()
    other.load_state_dict(stopped.state_dict())
    assert [plain(batch) for batch in other.train_dataloader()] == batches[1:]


def test_devices_share_a_global_batch(module, acting):
    whole = [b["index"].tolist() for b in epoch_of(module(), acting)]
    shares = [[b["index"].tolist() for b in epoch_of(module(), acting, rank=rank, world=2)] for rank in range(2)]
    for number, together in enumerate(whole):
        assert sorted(shares[0][number] + shares[1][number]) == sorted(together)


def test_empty_reports_are_refused_before_images_are_decoded(module, acting, tmp_path, caplog):
    data = module(empty="error", store_root=str(tmp_path))
    data.trainer = acting()
    with pytest.raises(
        DataError, match=r"3 of 39 rows of split 'train' have fewer than 2 words .*: studies 's4', 's9' of studies"
    ):
        data.prepare_data()
    assert data._store is None
    kept = module()
    kept.trainer = acting()
    assert len(kept.rows("train")) == 36
    assert "3 of 39 rows of split 'train'" in caplog.text
    assert len(module(overfit_batches=2).rows("val")) == 8
    with pytest.raises(ConfigError, match=r"data.pairing is 'some'; expected one of all, one_per_study"):
        module(pairing="some")


def test_a_source_without_text_is_refused(module):
    data = module(source=PhantomSource(images=30, seed=1, size=40))
    with pytest.raises(DataError, match="images but no report text"):
        data.rows("train")


def test_a_weighted_mixture_is_paired_too(module, studies, acting):
    source = Mixture([studies, PhantomSource(images=60, seed=1, size=40, reports="terse")], weights=[1, 3])
    data = module(source=source, text={"studies": {"policy": "findings"}, "phantom": {"policy": "impression"}})
    batches = epoch_of(data, acting)
    names = data.table.frame["dataset"].iloc[joined(batches, "index")]
    assert abs((names == "phantom").mean() - 0.75) < 0.05


def test_the_phantom_and_real_notes_come_as_pairs(shared, tmp_path, acting):
    for overrides in (
        ["data=phantom_pairs", "data.source.images=60", "data.store.size=32"],
        ["data=covid_chestxray_pairs", "data.store.size=32", "data.input_size=32", f"paths.data={shared / 'data'}"],
    ):
        small = [f"paths.stores={tmp_path}", "data.batch_size=8", "+data.prepare_workers=0"]
        data = build(resolved(compose_config([*overrides, *small]))["data"])
        data.num_workers = 0
        data.trainer = acting()
        data.prepare_data()
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert batch["image"].shape == (8, 1, 32, 32)
        assert all(text.strip() for text in batch["text"])
        assert (batch["body"][:, 1] > batch["body"][:, 0]).all()


def test_a_manifest_brings_the_real_notes_as_well(shared, module, acting):
    root = shared / "data" / "covid_chestxray"
    source = Manifest(
        root, "metadata.csv", "notes",
        {"image": "file", "patient": "patientid", "view": "view", "notes": "clinical_notes"},
        {"COVID": {"column": "finding", "has": "COVID-19", "separator": "/", "unstated": ["todo"]}},
        split={"by": "patient", "fractions": {"train": 0.7, "val": 0.1, "test": 0.2}, "seed": 0},
    )  # fmt: skip
    data = module(source=source, text={"notes": {"policy": "notes", "style": {"shuffle": 1.0}}}, batch_size=16)
    first, second = (joined(epoch_of(data, acting, epoch), "text") for epoch in (0, 1))
    assert len(first) >= 96
    assert set(first) - set(second)


def impressions_of(studies, tmp_path, module, **options):
    """The same studies; every other one has an impression alone."""
    frame = pd.read_csv(studies.root / "table.csv", keep_default_na=False)
    number = frame["study"].str[1:].astype(int)
    frame["impression"] = "Study " + number.astype(str) + "."
    frame.loc[number % 2 == 0, "words"] = ""
    frame.to_csv(studies.root / "impressions.csv", index=False)
    source = Manifest(
        studies.root, "impressions.csv", "studies",
        {"image": "file", "patient": "who", "study": "study", "view": "view", "split": "part", "findings": "words",
         "impression": "impression"}, {"Effusion": "effusion"},
    )  # fmt: skip
    text = {"default": {"policy": "findings_else_impression"}}
    return module(source=source, text=text, pairing="one_per_study", **options)


def alone(data, batches):
    """Which of an epoch's reports are an impression alone."""
    return np.array([text.startswith("Study") for text in joined(batches, "text")])


def test_reports_of_an_impression_alone_stay_leave_or_come_late(studies, tmp_path, module, acting):
    kept = impressions_of(studies, tmp_path, module)
    assert len(kept.rows("train")) == 20
    assert alone(kept, epoch_of(kept, acting)).sum() == 11  # 10, and study 9, whose findings are empty
    out = impressions_of(studies, tmp_path, module, impression_only="leave_out")
    assert len(out.rows("train")) == 9
    assert not alone(out, epoch_of(out, acting)).any()
    assert len(out.rows("val")) == 5
    late = impressions_of(studies, tmp_path, module, impression_only="late", late_epochs=2)
    counts = []
    for epoch in range(4):
        batches = epoch_of(late, acting, epoch)
        assert len(batches) == 5
        counts.append(int(alone(late, batches).sum()))
    assert counts[0] == 0
    assert 0 < counts[1] < 11
    assert counts[2:] == [11, 11]
    again = epoch_of(late, acting, 1)
    assert joined(again, "text") == joined(epoch_of(late, acting, 1), "text")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"impression_only": "later"}, "did you mean 'late'"),
        ({"impression_only": "late"}, "expected late with the epochs"),
        ({"late_epochs": 3}, "and 0 otherwise"),
    ],
)
def test_impression_options_that_cannot_be_right(module, options, message):
    with pytest.raises(ConfigError, match=message):
        module(**options)


def test_versions_of_reports_come_round(module, acting):
    style = {"synonyms": 1.0, "shuffle": 1.0}
    few = module(text={"default": {"policy": "findings", "style": style, "variants": 2}})
    assert few.text_versions == 2
    assert module().text_versions is None
    assert module(text={"default": {"policy": "findings"}}).text_versions == 1
    texts = []
    for epoch in range(4):
        batches = epoch_of(few, acting, epoch)
        texts.append({int(i): t for b in batches for i, t in zip(b["index"], b["text"], strict=True)})
    shared = set(texts[0]) & set(texts[1]) & set(texts[2])
    assert all(texts[0][i] == texts[2][i] for i in shared)
    assert any(texts[0][i] != texts[1][i] for i in shared)
    with pytest.raises(ConfigError, match="variants=0"):
        module(text={"default": {"policy": "findings", "variants": 0}}).texts  # noqa: B018


def test_images_are_fixed_where_nothing_is_left_to_chance(module, image_options):
    assert not module().fixed_images
    evaluate = image_options["transforms"]["evaluate"]
    assert module(transforms={"train": evaluate, "evaluate": evaluate}).fixed_images


def copied(studies, name, change):
    """The studies with another table beside the same images."""
    frame = pd.read_csv(studies.root / "table.csv", keep_default_na=False)
    change(frame)
    frame.to_csv(studies.root / f"{name}.csv", index=False)
    return Manifest(
        studies.root, f"{name}.csv", name,
        {"image": "file", "patient": "who", "study": "study", "view": "view", "split": "part", "findings": "words"},
        {"Effusion": "effusion"},
    )  # fmt: skip


def test_a_report_of_one_word_is_refused_or_left_out(studies, module):
    def change(frame):
        frame.loc[frame["study"] == "s2", "words"] = "Normal."

    source = copied(studies, "short", change)
    with pytest.raises(DataError, match=r"fewer than 2 words of what .*: studies 's2', 's4', 's9' of short"):
        module(source=source, empty="error").rows("train")
    rows = module(source=source).rows("train")
    assert len(rows) == len(module(source=source, least_words=1).rows("train")) - 3
    with pytest.raises(ConfigError, match="least_words is 0"):
        module(source=source, least_words=0).texts  # noqa: B018


def test_a_pair_in_two_splits_is_refused(studies, module, acting):
    def change(frame):
        Image.open(studies.root / "21_0.png").save(studies.root / "11_9.png")
        row = frame[frame["file"] == "21_0.png"].iloc[0].to_dict()
        frame.loc[len(frame)] = row | {"file": "11_9.png", "who": "p11", "study": "s11b", "part": "train"}

    data = module(source=copied(studies, "leaking", change))
    data.trainer = acting()
    with pytest.raises(DataError, match=r"1 pair\(s\) of .* in the splits train and val alike.*11_9\.png is 21_0\.png"):
        data.setup("fit")

    def other(frame):
        change(frame)
        frame.loc[len(frame) - 1, "words"] = "Another report of the same image."

    apart = module(source=copied(studies, "apart", other))
    apart.trainer = acting()
    apart.setup("fit")

    def again(frame):
        other(frame)
        Image.open(studies.root / "21_0.png").save(studies.root / "22_8.png")
        row = frame.iloc[-1].to_dict()
        frame.loc[len(frame)] = row | {"file": "22_8.png", "who": "p22", "study": "s22b", "part": "val"}

    # The first image like it has another report, the second has its own.
    twice = module(source=copied(studies, "twice", again))
    twice.trainer = acting()
    with pytest.raises(DataError, match=r"1 pair\(s\) of .*11_9\.png is 22_8\.png"):
        twice.setup("fit")


def test_a_view_that_training_may_show_is_in_no_other_split(studies, module, acting):
    """The lateral image of a training study is a validation image as well, under the same report."""

    def change(frame):
        Image.open(studies.root / "02_0.png").save(studies.root / "22_9.png")
        row = frame[frame["file"] == "02_0.png"].iloc[0].to_dict()
        frame.loc[len(frame)] = row | {"file": "22_9.png", "who": "p22", "study": "s22b", "part": "val"}

    source = copied(studies, "views", change)
    shown = module(source=source, pairing="random_view")
    with pytest.raises(DataError, match=r"in the splits train and val alike.*02_0\.png is 22_9\.png"):
        shown.check_decoded()
    module(source=source, pairing="frontal_first").check_decoded()  # the lateral image is never shown


def test_reports_of_every_split_are_looked_at_before_decoding(studies, module):
    def change(frame):
        frame.loc[frame["study"].isin(["s4", "s9"]), "words"] = "The lungs are clear."
        frame.loc[frame["study"] == "s26", "words"] = ""

    data = module(source=copied(studies, "tested", change), empty="error")
    data.rows("train")
    with pytest.raises(DataError, match=r"of split 'test' have fewer than 2 words .*: studies 's26' of tested"):
        data.check_before_decoding()
    assert data._store is None

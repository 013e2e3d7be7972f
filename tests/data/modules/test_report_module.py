"""Batches of reports: text, spans, order, styles, and what becomes of reports that say nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.modules import ReportDataModule
from cxrvl.data.modules.buckets import BucketedOrder
from cxrvl.data.reports.table import ReportTable
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.studies import SECTIONS
from cxrvl.errors import ConfigError, DataError
from cxrvl.runs.identity import data_table, fingerprint

STYLE = {"synonyms": 1.0, "shuffle": 1.0}
FINDINGS = "There is a small left pleural effusion. The heart is mildly enlarged. No pneumothorax is seen."


class Written:
    """A source of reports alone, as many as asked for."""

    shareable = False

    def __init__(self, count=60, name="written", empty=(), report=False):
        self.count, self.name, self.empty, self.report = count, name, set(empty), report

    def reports(self):
        rows = []
        for number in range(self.count):
            findings = " ".join([FINDINGS] * (1 + number % 7))
            text = {"findings": findings, "impression": f"Effusion number {number}."}
            if self.report:
                text = {"report": f"FINDINGS: {findings}\nIMPRESSION: Effusion number {number}."}
            if number in self.empty:
                text = dict.fromkeys(text, "XXXX.")
            split = "train" if number < self.count * 0.7 else "val" if number < self.count * 0.85 else "test"
            rows.append(
                {"study": f"s{number}", "patient": f"p{number}", "split": split, "Effusion": number % 2, **text}
            )
        frame = pd.DataFrame(rows).assign(dataset=self.name)
        return ReportTable.build(frame, ["Effusion"], split_name="made", origin="made reports")


def module(source=None, **options):
    text = {"default": {"policy": "both", "instruction": "Read this report:", "style": STYLE}}
    return ReportDataModule(
        source or Written(), **{"batch_size": 8, "text": text, "evaluation_batch_size": 10, **options}
    )


def test_a_batch_holds_what_the_contract_says(acting):
    data = module()
    data.trainer = acting()
    batch = next(iter(data.train_dataloader()))
    shapes = {k: (tuple(v.shape), v.dtype) for k, v in batch.items() if isinstance(v, torch.Tensor)}
    assert shapes == {
        "instruction": ((8, 2), torch.int64),
        "body": ((8, 2), torch.int64),
        "parts": ((8, 7, 2), torch.int64),
        "target": ((8, 1), torch.float32),
        "index": ((8,), torch.int64),
        "study": ((8,), torch.int64),
    }
    rows = data.table.frame.iloc[batch["index"].numpy()]
    assert set(rows["split"]) == {"train"}
    np.testing.assert_array_equal(batch["target"][:, 0], rows["Effusion"])
    for place, text in enumerate(batch["text"]):
        head, body, parts = (batch[name][place].tolist() for name in ("instruction", "body", "parts"))
        assert text[slice(*head)] == "Read this report:"
        spans = {name: span for name, span in zip(SECTIONS, parts, strict=True) if span != [-1, -1]}
        assert list(spans) == ["findings", "impression"]
        assert body == [spans["findings"][0], spans["impression"][1]]
        assert len(text) == body[1]
    again = data.on_after_batch_transfer(batch, 0)
    assert again is batch


def test_evaluation_reads_every_report_once_and_plain():
    data = module()
    batches = list(data.split_dataloader("val", "test"))
    index = torch.cat([batch["index"] for batch in batches]).numpy()
    np.testing.assert_array_equal(index, np.concatenate([data.table.split("val"), data.table.split("test")]))
    texts = [text for batch in batches for text in batch["text"]]
    rows = data.table.frame.iloc[index]
    expected = [f"Read this report: {f} {i}" for f, i in zip(rows["findings"], rows["impression"], strict=True)]
    assert texts == expected


def texts_of(data, acting, epoch):
    data.trainer = acting(epoch=epoch)
    loader = data.train_dataloader()
    loader.order.set_epoch(epoch)
    return {int(i): text for batch in loader for i, text in zip(batch["index"], batch["text"], strict=True)}


def test_styles_depend_on_seed_epoch_and_study_alone(acting):
    first = texts_of(module(), acting, 0)
    assert texts_of(module(batch_size=4, bucket_batches=1), acting, 0).items() >= first.items()
    second = texts_of(module(), acting, 1)
    other = texts_of(module(seed=1), acting, 0)
    for different in (second, other):
        both = set(first) & set(different)
        assert sum(first[row] != different[row] for row in both) > len(both) / 2
    plain = texts_of(module(overfit_batches=5), acting, 0)
    assert all(text.startswith("Read this report: There is a small left pleural effusion.") for text in plain.values())


def test_some_epochs_bring_the_impression_alone(acting):
    text = {"default": {"policy": "both", "style": {"impression_only": 0.4}}}
    epochs = [texts_of(module(text=text), acting, epoch) for epoch in range(4)]
    alone = [words.startswith("Effusion number") for epoch in epochs for words in epoch.values()]
    assert 0.25 < sum(alone) / len(alone) < 0.55
    assert epochs[0] == texts_of(module(text=text), acting, 0) != epochs[1]
    assert all(words.endswith(".") and "Effusion number" in words for epoch in epochs for words in epoch.values())
    with pytest.raises(ConfigError, match=r"impression_only with the policy 'findings'.*'both'"):
        list(module(text={"default": {"policy": "findings", "style": {"impression_only": 0.4}}}).val_dataloader())


def test_a_mixture_reads_each_source_in_its_own_way(acting):
    source = Mixture([Written(name="one"), Written(name="two")], weights=[3, 1], epoch_length=48)
    text = {
        "default": {"policy": "findings", "instruction": "Findings."},
        "two": {"policy": "impression", "cleaning": ["white_space"]},
    }
    data = module(source, text=text)
    data.trainer = acting()
    seen = [
        (name, text)
        for batch in data.train_dataloader()
        for name, text in zip(data.table.frame["dataset"].iloc[batch["index"].numpy()], batch["text"], strict=True)
    ]
    assert [sum(name == which for name, _ in seen) for which in ("one", "two")] == [36, 12]
    for name, words in seen:
        assert words.startswith("Findings. There is" if name == "one" else "Findings. Effusion number")


def test_an_undivided_report_is_parsed_before_a_policy_is_applied():
    data = module(Written(report=True), text={"default": {"policy": "impression"}})
    assert next(iter(data.val_dataloader()))["text"][0] == "Effusion number 42."


@pytest.mark.parametrize("workers", [0, 1])
def test_a_module_continues_inside_an_epoch_and_workers_change_nothing(acting, plain, workers):
    whole = module()
    whole.trainer = acting()
    batches = [plain(batch) for batch in whole.train_dataloader()]
    stopped = module(num_workers=workers)
    stopped.trainer = acting()
    iterator = iter(stopped.train_dataloader())
    assert plain(next(iterator)) == batches[0]
    other = module(num_workers=workers)
    other.trainer = acting()
    other.load_state_dict(stopped.state_dict())
    assert [plain(batch) for batch in other.train_dataloader()] == batches[1:]


def test_devices_share_a_global_batch(acting):
    def batches(**place):
        data = module()
        data.trainer = acting(**place)
        return [batch["index"].tolist() for batch in data.train_dataloader()]

    whole, shares = batches(), [batches(rank=rank, world=2, accumulate=2) for rank in range(2)]
    for number, together in enumerate(whole):
        parts = [row for share in shares for part in (0, 1) for row in share[number * 2 + part]]
        assert sorted(parts) == sorted(together)


LENGTHS = np.random.default_rng(0).integers(3, 400, 1000)


def bucketed(size=16, bucket=10, seed=3, **options):
    return BucketedOrder(np.arange(1000), size, seed, lengths=LENGTHS, bucket_batches=bucket, **options)


def spread(batches):
    return float(np.mean([LENGTHS[batch].max() / LENGTHS[batch].mean() for batch in batches]))


def test_batches_hold_texts_of_like_length_in_random_order():
    batches = list(bucketed())
    assert spread(batches) < 1.25 < 1.7 < spread(list(bucketed(bucket=1)))
    means = [LENGTHS[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4
    seen = np.concatenate(batches)
    assert len(set(seen)) == len(seen) == 992
    assert set(seen) == set(np.concatenate(list(bucketed(bucket=1)))), (
        "which texts an epoch holds has nothing to do with it"
    )


@given(size=st.integers(1, 40), bucket=st.integers(1, 70), seed=st.integers(0, 5), start=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_a_bucketed_order_is_a_permutation_that_can_be_entered_anywhere(size, bucket, seed, start):
    order = bucketed(size, bucket, seed, drop_last=False)
    batches = list(order)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    order.start = start
    assert list(order) == batches[start:]
    order.set_epoch(1)
    assert list(order) != batches


def test_empty_reports_are_refused_or_left_out_and_counted(acting, caplog):
    refused = module(Written(empty=(3, 5, 50)))
    refused.trainer = acting()
    with pytest.raises(
        DataError,
        match=r"2 of 42 rows of split 'train' have nothing .*'both' asks for: studies 's3', .* of written.*skip",
    ):
        refused.prepare_data()
    data = module(Written(empty=(3, 5, 50)), empty="skip")
    data.trainer = acting()
    data.prepare_data()
    assert len(data.rows("train")) == 40
    assert caplog.text.count("2 of 42 rows of split 'train'") == 1, "said once"
    seen = {int(i) for batch in data.split_dataloader("train", "val", "test") for i in batch["index"]}
    assert seen == set(range(60)) - {3, 5, 50}
    with pytest.raises(DataError, match="42 of 42 rows"):
        module(text={"default": {"policy": "notes"}}, empty="skip").rows("train")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"empty": "drop"}, "data.empty is 'drop'; expected error or skip"),
        ({"length_in": "tokens"}, "data.length_in is 'tokens'; expected words or characters"),
        ({"bucket_batches": 0}, "data.bucket_batches is 0"),
        ({"text": {"writen": {}}}, "data.text names 'writen', which is no source here; did you mean 'written'"),
        ({"text": {"default": {"polcy": "both"}}}, "data.text.default: unknown key 'polcy'"),
        ({"text": {"default": {"policy": "bth"}}}, "unknown section policy 'bth'; did you mean 'both'"),
        ({"text": {"default": {"cleaning": ["htm"]}}}, "unknown cleaning step 'htm'"),
        ({"text": {"default": {"cleaning": "markup"}}}, "expected a list"),
        ({"text": {"default": {"style": {"shufle": 1}}}}, "unknown report style 'shufle'; did you mean 'shuffle'"),
        ({"text": {"default": {"style": {"shuffle": 2}}}}, "strength of report style 'shuffle' is 2"),
    ],
)
def test_options_that_cannot_be_right_are_refused(acting, options, words):
    def read():
        data = module(**options)
        data.trainer = acting()
        data.train_dataloader()

    with pytest.raises((ConfigError, DataError), match=words):
        read()


def test_any_source_with_text_in_its_study_table_will_do():
    data = ReportDataModule(PhantomSource(images=40, seed=2, size=40, reports="verbose"), 4, text={})
    batch = next(iter(data.val_dataloader()))
    assert all(text and text.isprintable() for text in batch["text"])
    assert len(data.table) == PhantomSource(images=40, seed=2, size=40).table().frame["study"].nunique()


def test_labels_limit_and_folds_apply_to_reports():
    data = module(limit=5, labels=["Effusion"])
    assert [len(data.table.split(name)) for name in ("train", "val", "test")] == [5, 5, 5]
    folded = module(fold=1, folds=3).table
    assert len(folded.split("val")) == 17
    assert "fold 1 of 3" in folded.split_name


def test_a_run_on_reports_alone_is_known_by_its_reports():
    def prints(*overrides):
        config = resolved(compose_config(["data=phantom_reports", "data.source.images=30", *overrides]))
        assert build(config["data"]).table.fingerprint() == data_table(config).fingerprint()
        return fingerprint(config)

    first = prints()
    assert "pixels" not in first
    assert first["study"]["text"] != prints("data.source.reports=terse")["study"]["text"]
    assert first == prints()


def test_open_i_comes_as_reports(shared, acting):
    config = resolved(compose_config(["data=openi_reports", f"paths.data={shared / 'data'}", "data.num_workers=0"]))
    data = build(config["data"])
    data.trainer = acting()
    batch = next(iter(data.train_dataloader()))
    assert len(batch["text"]) == 32
    assert len(data.table) == 3955
    assert not any("XXXX" in text for text in batch["text"])
    assert (batch["body"][:, 1] > batch["body"][:, 0]).all()

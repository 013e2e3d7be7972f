"""Batches of triplets: one task each, the same for any number of devices, and who is no negative of whom."""

import json
from functools import cached_property

import numpy as np
import pytest
import torch

from cxrvl.data.modules import TripletDataModule
from cxrvl.data.modules.loading import BatchRows
from cxrvl.data.modules.triplet import TripletItems
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.data.triplets import ErrorNegatives, ExternalTriplets, LabelSentences, Rewrites, SectionPairs
from cxrvl.data.triplets.triplet import Tasks
from cxrvl.errors import ConfigError, DataError
from cxrvl.losses.contrastive import HardNegativeLoss

TASKS = {
    "pairs": SectionPairs(instruction="Find it."),
    "shuffled": Rewrites(styles={"shuffle": 1.0}, triplets=40),
    "errors": ErrorNegatives(styles={"synonyms": 1.0}, negatives=2),
    "left_out": None,
}


class Module(TripletDataModule):
    """With the texts of all modules of this file read once."""

    @cached_property
    def texts(self):
        return TEXTS.setdefault("all", super().texts)


TEXTS: dict = {}


def module(**options):
    text = {"default": {"policy": "findings_else_impression"}}
    source = PhantomSource(images=200, seed=3, reports="by_hospital")
    return Module(source, **{"batch_size": 8, "text": text, "tasks": TASKS, "evaluation_batch_size": 16, **options})


def test_a_batch_holds_what_the_contract_says(acting):
    data = module()
    data.trainer = acting()
    seen = {}
    for batch in data.train_dataloader():
        negatives = 2 if batch["task"] == "errors" else 0
        assert len(batch["text"]) == len(batch["positive"]) == 8
        assert len(batch["negative"]) == 8 * negatives
        shapes = {k: (tuple(v.shape), v.dtype) for k, v in batch.items() if isinstance(v, torch.Tensor)}
        assert shapes == {
            "body": ((8, 2), torch.int64), "keys": ((8, 3), torch.int64), "index": ((8,), torch.int64),
            "negative_keys": ((8 * negatives, 3), torch.int64),
        }  # fmt: skip
        for text, (start, end) in zip(batch["text"], batch["body"].tolist(), strict=True):
            assert text[:start] == ("Find it. " if batch["task"] == "pairs" else "")
            assert end == len(text)
        seen[batch["task"]] = seen.get(batch["task"], 0) + 1
    assert set(seen) == {"pairs", "shuffled", "errors"}
    assert seen["shuffled"] == 40 // 8
    assert sum(seen.values()) == len(data.train_dataloader())


def test_pairs_with_the_same_text_or_findings_share_a_key(acting):
    data = module(tasks={"labels": LabelSentences()})
    data.trainer = acting()
    shared = {"query": 0, "positive": 0, "labels": 0}
    for batch in data.train_dataloader():
        keys = batch["keys"].numpy()
        for i in range(8):
            for j in range(i):
                same = keys[i] == keys[j]
                assert same[1] == (batch["positive"][i] == batch["positive"][j])
                assert same[0] == (batch["text"][i] == batch["text"][j])
                for name, value in zip(shared, same & (keys[i] != -1), strict=True):
                    shared[name] += int(value)
    assert shared["positive"] > 0
    assert shared["labels"] > 0
    none = module(tasks={"labels": LabelSentences()}, false_negatives=[])
    none.trainer = acting()
    assert (next(iter(none.train_dataloader()))["keys"] == -1).all()


def test_swapped_texts_are_no_negatives_of_each_other(acting, tmp_path):
    data = module()
    data.trainer = acting()
    rows = data.rows("train")[:4]
    pairs = [("Large heart.", "Cardiomegaly."), ("Cardiomegaly.", "Large heart."), ("Clear lungs.", "No effusion.")]
    lines = [
        dict(
            zip(("dataset", "study"), data.texts.texts.keys[row].split("/", 1), strict=True), query=one, positive=other
        )
        for row, (one, other) in zip(rows[:3], pairs, strict=True)
    ]
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    tasks = Tasks.of({"external": ExternalTriplets(file=str(path))}, data.texts.texts, rows)
    batch = TripletItems(tasks, data.texts.texts, ["text"], fixed=True).__getitems__(BatchRows([0, 1, 2]))
    apart = torch.eye(3, dtype=torch.float64)
    logits, _ = HardNegativeLoss().logits(apart, apart, None, batch["keys"], None, alone=True)
    assert (logits == float("-inf")).nonzero().tolist() == [[0, 1], [1, 0]]


def test_devices_share_a_batch_of_one_task(acting, plain):
    whole = module()
    whole.trainer = acting(epoch=1)
    order = whole.order()
    order.set_epoch(1)
    batches = [sorted(batch) for batch in order]
    shares = []
    for rank in range(2):
        data = module()
        data.trainer = acting(rank=rank, world=2, epoch=1)
        part = data.order()
        part.set_epoch(1)
        shares.append(list(part))
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == batches


def test_an_epoch_is_a_function_of_its_number_and_resumes_inside(acting, plain):
    def batches(start=0):
        data = module()
        data.trainer = acting()
        loader = data.train_dataloader()
        loader.load_state_dict({"epoch": 2, "handed_out": start})
        return [plain(batch) for batch in loader]

    whole = batches()
    assert batches(3) == whole[3:]


def test_validation_is_the_same_after_every_epoch_and_leaves_the_rest_in(acting, plain):
    data = module(val_triplets=20)
    data.trainer = acting(training=False)
    one = [plain(batch) for batch in data.val_dataloader()]
    data.trainer.current_epoch = 4
    assert [plain(batch) for batch in data.val_dataloader()] == one
    sizes = {task: sum(len(b["text"]) for b in one if b["task"] == task) for task in ("pairs", "shuffled", "errors")}
    assert sizes["pairs"] <= sizes["errors"] == 20
    assert max(len(batch["text"]) for batch in one) == 16


def test_evaluation_reads_the_reports_themselves(acting):
    data = module()
    data.trainer = acting(training=False)
    batch = next(iter(data.predict_dataloader()))
    assert batch["target"].shape == (16, 6)
    for sections, text in zip(batch["sections"], batch["text"], strict=True):
        assert text == sections.get("findings", sections.get("impression"))
    data.predict_rows = data.table.split("test")[5:7]
    (batch,) = data.predict_dataloader()
    np.testing.assert_array_equal(batch["index"], data.predict_rows)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tasks": {"pairs": None}}, ConfigError, "names no task"),
        (
            {"tasks": {"pairs": SectionPairs(), "pars": {"of": "findings"}}},
            ConfigError,
            r"data.tasks.pars is \{'of': 'findings'\}, .*did you mean 'pairs'",
        ),
        ({"tasks": {"pairs": None, "external": {"file": "x.jsonl"}}}, ConfigError, "_target_: cxrvl.*ExternalTriplets"),
        ({"tasks": {"pairs": 3}}, ConfigError, "data.tasks.pairs is 3, which makes no triplets"),
        ({"false_negatives": ["texts"]}, ConfigError, "names 'texts'"),
        ({"drop_last": False}, ConfigError, "leave their rest out"),
        ({"batch_size": 64}, ConfigError, "data.tasks.shuffled has .* fewer than a batch of 64"),
        ({"tasks": {"pairs": SectionPairs(query="technique", positive="indication")}}, DataError, "no report of split"),
    ],
)
def test_options_that_cannot_be_right(acting, options, error, message):
    def ask():
        data = module(**options)
        data.trainer = acting()
        return data.order()

    with pytest.raises(error, match=message):
        ask()

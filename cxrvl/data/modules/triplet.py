"""What does a batch of text triplets hold? Pairs of one task, their hard negatives, and who is no negative of whom."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cxrvl.config.nearest import did_you_mean
from cxrvl.data.modules.base import Batch
from cxrvl.data.modules.loading import BatchRows, TrainOrder
from cxrvl.data.modules.report import ReportDataModule
from cxrvl.data.modules.shares import Shares
from cxrvl.data.reports.texts import Texts
from cxrvl.data.triplets.labels import check_keys, label_set, number_of
from cxrvl.data.triplets.triplet import Tasks, Triplet, TripletTask, section
from cxrvl.errors import ConfigError, DataError

NO_KEY, NO_DOCUMENT = -1, -2
KEYS = ("query", "positive", "labels")
LABELS = "labels"
"""What their keys are told apart by from those of texts, which may read like a label set."""
VAL_EPOCH = 0


class TripletDataModule(ReportDataModule):
    """Text triplets made from reports, all triplets of a global batch of one task; evaluated on the reports themselves.

    Training and validation batches: `task` its name; `text` list of B queries behind their instruction and `body`
    (B, 2) int64 where the queries lie in them; `positive` list of B; `negative` list of B * N, those of one query side by
    side, N the task's `hard_negatives`, filled up with the positive where a report offers fewer; `keys` (B, 3) and
    `negative_keys` (B * N, 3) int64: texts of query and positive and the label set, by which pairs are no negatives of
    each other, a text being the same one as query or as positive (`cxrvl.losses.contrastive`); `index` (B,) int64 item numbers.

    Args:
        tasks: name -> task, see `cxrvl.data.triplets`; null leaves one out.
        false_negatives: what makes another pair no negative: `text` (one of its texts is the same), `labels` (the rule
            labeler finds the same in both reports); [] = nothing.
        val_triplets: of each task at most so many of the validation split; None = all.
        options: those of `ReportDataModule`.

    Raises:
        ConfigError: no task, what is no task, or an unknown kind of false negative.
    """

    def __init__(
        self,
        *args: Any,
        tasks: Mapping[str, TripletTask | None],
        false_negatives: Sequence[str] = ("text", "labels"),
        val_triplets: int | None = 500,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.tasks = {name: task for name, task in tasks.items() if task is not None}
        self.false_negatives, self.val_triplets = tuple(false_negatives), val_triplets
        check_keys(self.false_negatives)
        for name, task in self.tasks.items():
            if not isinstance(task, TripletTask):
                known = [other for other in tasks if other != name and not isinstance(tasks[other], Mapping)]
                raise ConfigError(
                    f"data.tasks.{name} is {_said(task)}, which makes no triplets{did_you_mean(name, known)}. A new "
                    f"task names what makes them: '+data.tasks.{name}={{_target_: cxrvl.data.triplets.ExternalTriplets, "
                    "file: <JSONL>}'"
                )
        if not self.tasks:
            raise ConfigError("data.tasks names no task that makes triplets; keep at least one")

    def prepare_data(self) -> None:
        """Refuse tasks that no report serves before a model is loaded for them."""
        if self.fitting:
            self.order()

    @cached_property
    def training_items(self) -> Tasks:
        """The items of every task on the training split."""
        return self._items("train")

    @cached_property
    def val_items(self) -> Tasks:
        """The items of every task on the validation split."""
        return self._items("val")

    def _items(self, split: str) -> Tasks:
        found = Tasks.of(self.tasks, self.texts.texts, self.rows(split))
        for name, items in found.items.items():
            if not len(items):
                raise DataError(
                    f"data.tasks.{name}: no report of split {split!r} offers what it needs; leave the task out "
                    f"(data.tasks.{name}=null), or choose a data.text policy that reads the sections it names"
                )
        return found

    def shares(self, rows: np.ndarray) -> Shares | None:
        """Tasks draw from all reports alike; ConfigError for a mixture with weights."""
        if super().shares(rows) is not None:
            raise ConfigError("triplets are drawn from all sources of a mixture alike; leave data.source.weights out")
        return None

    def order(self) -> "TaskOrder":
        """Return this device's order of the training triplets."""
        self.shares(self.rows("train"))
        caps = {name: task.triplets for name, task in self.tasks.items()}
        return TaskOrder(self.training_items, caps, self.batch_size, self.seed, **self._cut())

    def train_dataset(self) -> Dataset:
        """Return the training triplets, readable by item number."""
        return TripletItems(
            self.training_items, self.texts.texts, self.false_negatives, fixed=bool(self.overfit_batches)
        )

    def val_dataloader(self) -> DataLoader:
        """Return triplets of the validation split, the same ones after every epoch."""
        rank, world = self._place()
        batches = WholeTasks(self.val_items, self.val_triplets, self.evaluation_batch_size, rank, world)
        items = TripletItems(self.val_items, self.texts.texts, self.false_negatives, fixed=True)
        generator = torch.Generator().manual_seed(0)
        return DataLoader(items, batch_sampler=batches, generator=generator, **self._loader_options())


def _said(task: object) -> str:
    """What stands in a task's place, shown as a config has it."""
    return str(dict(task)) if isinstance(task, Mapping) else repr(task)


class TripletItems(Dataset):
    """Items of several tasks as whole batches."""

    def __init__(self, items: Tasks, texts: Texts, false_negatives: Sequence[str], fixed: bool) -> None:
        self.items, self.texts, self.false_negatives, self.fixed = items, texts, false_negatives, fixed

    def __len__(self) -> int:
        return sum(len(own) for own in self.items.items.values())

    def __getitems__(self, rows: BatchRows) -> Batch:
        """Make one batch of item numbers, all of one task."""
        epoch = VAL_EPOCH if self.fixed or rows.epoch is None else rows.epoch
        places = [self.items.find(int(number)) for number in rows]
        (name,) = {task for task, _ in places}
        task = self.items.tasks[name]
        triplets = [task.make(self.texts, item, epoch) for _, item in places]
        joined = [one.text() for one in triplets]
        keys = [self._keys(one) for one in triplets]
        negatives, negative_keys = [], []
        for one in triplets:
            for place in range(task.hard_negatives):
                there = place < len(one.negatives)
                negatives.append(one.negatives[place] if there else one.positive)
                negative_keys.append(self._negative_keys(one.negatives[place]) if there else [NO_DOCUMENT] * len(KEYS))
        shape = (-1, len(KEYS))
        return {
            "task": name,
            "text": [text for text, _ in joined],
            "body": torch.tensor([span for _, span in joined], dtype=torch.int64),
            "positive": [one.positive for one in triplets],
            "negative": negatives,
            "keys": torch.tensor(keys, dtype=torch.int64).reshape(shape),
            "negative_keys": torch.tensor(negative_keys, dtype=torch.int64).reshape(shape),
            "index": torch.tensor(rows, dtype=torch.int64),
        }

    def _keys(self, one: Triplet) -> list[int]:
        by_text, by_labels = ("text" in self.false_negatives, "labels" in self.false_negatives)
        report = section(self.texts, one.row, "report") if one.row is not None and by_labels else ""
        texts = [number_of(one.query), number_of(one.positive)] if by_text else [NO_KEY, NO_KEY]
        return [*texts, number_of(label_set(report), LABELS) if report else NO_KEY]

    def _negative_keys(self, text: str) -> list[int]:
        """A hard negative is told apart from positives by its text alone: its findings are what it is wrong in."""
        return [NO_KEY, number_of(text) if "text" in self.false_negatives else NO_KEY, NO_KEY]


class TaskOrder(TrainOrder):
    """A training order whose global batches hold items of one task each, the batches of all tasks shuffled.

    Every epoch each task draws its items anew, at most as many as it says; what does not fill a batch is left out.

    Args:
        items: of every task.
        caps: task -> items of an epoch; None = all.
        batch_size, seed, options: see `TrainOrder`.

    Raises:
        ConfigError: as `TrainOrder`; a task with fewer items than a batch, or drop_last=false.
    """

    def __init__(
        self, items: Tasks, caps: Mapping[str, int | None], batch_size: int, seed: int, **options: Any
    ) -> None:
        if not options.get("drop_last", True):
            raise ConfigError("data.drop_last=false: batches of one task each leave their rest out; set it to true")
        self.numbers = {name: items.numbers(name) for name in items.items}
        self.drawn_of = {
            name: min(len(own), len(own) if caps[name] is None else int(caps[name] or 0)) // batch_size * batch_size
            for name, own in self.numbers.items()
        }
        for name, count in self.drawn_of.items():
            if not count:
                raise ConfigError(
                    f"data.tasks.{name} has {len(self.numbers[name])} triplets (at most {caps[name]} an epoch), fewer than "
                    f"a batch of {batch_size}; lower data.batch_size, or leave the task out: data.tasks.{name}=null"
                )
        every = np.concatenate(list(self.numbers.values()))
        super().__init__(every, batch_size, seed, **options)
        self.samples = sum(self.drawn_of.values())

    def drawn(self) -> np.ndarray:
        """Return the items of this epoch, batch after batch."""
        batches = []
        for place, (name, own) in enumerate(self.numbers.items()):
            generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch], counter=[0, 0, 1, place]))
            chosen = own[generator.permutation(len(own))[: self.drawn_of[name]]]
            batches.append(chosen.reshape(-1, self.batch_size))
        together = np.concatenate(batches)
        generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch]))
        return together[generator.permutation(len(together))].ravel()


class WholeTasks:
    """Batches of the first items of every task, in order, one task a batch; devices take turns as in `WholeSplit`."""

    def __init__(self, items: Tasks, cap: int | None, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.batches = [
            chosen[start : start + batch_size].tolist()
            for chosen in (items.numbers(name)[:cap] for name in items.items)
            for start in range(0, len(chosen), batch_size)
        ]
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return -(-len(self.batches) // self.world)

    def __iter__(self) -> Iterator[BatchRows]:
        """Yield the item numbers of each batch."""
        for turn in range(len(self)):
            yield BatchRows(self.batches[min(turn * self.world + self.rank, len(self.batches) - 1)])

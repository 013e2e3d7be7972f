"""A dual tower as small as can be, and pairs for it: what evaluations of image and text are tested with."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cxrvl.data.modules.texts import TextRows
from cxrvl.data.studies import StudyTable
from cxrvl.evaluation.probing import Network

SIZE = 6
SAYINGS = {
    "Effusion": "There is a small left pleural effusion.",
    "Cardiomegaly": "The heart is enlarged.",
    "Pneumothorax": "Large right pneumothorax.",
    "": "The lungs are clear.",
}
LABELS = ("Effusion", "Cardiomegaly", "Pneumothorax")


class Output(NamedTuple):
    embedding: Tensor
    features: Tensor


def by_letters(texts):
    """Counts of letters: the same text, the same vector."""
    vectors = torch.zeros(len(texts), 32)
    for row, text in enumerate(texts):
        for letter in text.lower():
            vectors[row, ord(letter) % 32] += 1
    return vectors


class Towers(nn.Module):
    """An image's embedding is that of the report `SAYINGS` has for its finding, as far as `knows`; else it is drawn."""

    similarity_scale = 10.0

    def __init__(self, table, knows=1.0, spread=0.0):
        super().__init__()
        self.table, self.knows, self.spread = table, knows, spread
        self.asked = []

    def encode_patches(self, images):
        return images[:, 0, :, :, None].expand(*images.shape[:1], SIZE, SIZE, 32)

    def predict_step(self, batch):
        if "image" not in batch:
            self.asked += batch["text"]
            bodies = [text[start:end] for text, (start, end) in zip(batch["text"], batch["body"].tolist(), strict=True)]
            return Output(nn.functional.normalize(by_letters(bodies)), by_letters(bodies))
        frame = self.table.frame.iloc[batch["index"].numpy()]
        said = by_letters(list(frame["findings"]))
        drawn = torch.stack([
            torch.rand(32, generator=torch.Generator().manual_seed(int(row))) for row in batch["index"]
        ])  # fmt: skip
        found = nn.functional.normalize(
            self.knows * nn.functional.normalize(said) + (1 - self.knows + self.spread) * drawn
        )
        return Output(found, said + drawn)


def study_table(studies=60, images=2, numbered=True, sayings=SAYINGS) -> StudyTable:
    """Studies of one finding each, in three splits, two to a patient; every report its own, or the same per finding."""
    rows = []
    for study in range(studies):
        name = list(sayings)[study % len(sayings)]
        said = sayings[name] + (f" Compared with film {study}." if numbered else "")
        for image in range(images):
            rows.append({
                "dataset": "made", "image": f"made/{study:03d}/{image}", "study": f"s{study:03d}",
                "patient": f"p{study // 2:03d}",
                "split": ("train", "val", "test")[study * 3 // studies], "findings": said,
                **{label: float(label == name) for label in LABELS},
            })  # fmt: skip
    return StudyTable.build(pd.DataFrame(rows), LABELS, split_name="made", root=None, origin="test", check_files=False)


def network_of(towers) -> Network:
    return Network(towers.predict_step, towers, nullcontext)


def batches(table, rows, size=7, paired=True):
    """Evaluation batches of some rows, as the data modules make them."""
    reports = table.reports()
    known = pd.MultiIndex.from_frame(reports.frame[["dataset", "study"]])
    study = known.get_indexer(pd.MultiIndex.from_frame(table.frame[["dataset", "study"]]))
    texts = TextRows(reports, None, "error", 0)
    for start in range(0, len(rows), size):
        index = np.asarray(rows[start : start + size])
        images = torch.rand(len(index), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(int(index[0])))
        batch = {"image": images, "index": torch.from_numpy(index), "target": torch.from_numpy(table.targets()[index])}
        yield batch | ({**texts.batch(study[index], None), "study": torch.from_numpy(study[index])} if paired else {})


def parts_of(evaluator, table, towers=None, size=7, paired=True):
    """The rows of every batch of an evaluator's splits."""
    towers = towers or Towers(table)
    network = network_of(towers)
    rows = np.concatenate([table.split(name) for name in evaluator.splits])
    if hasattr(evaluator, "scored"):
        rows = rows[np.isin(rows, evaluator.scored(table))]
    return [evaluator.probe(batch, towers.predict_step(batch), network, table)
            for batch in batches(table, rows, size, paired)]  # fmt: skip


def evaluated(evaluator, table, towers=None, **options):
    return evaluator.collect(parts_of(evaluator, table, towers, **options), table)

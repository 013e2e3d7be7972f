"""Doubles for tests of evaluations of texts: reports whose words are known, and an encoder that remembers what it is asked."""

from types import SimpleNamespace

import pandas as pd
import torch

from cxrvl.data.modules import ReportDataModule
from cxrvl.data.reports.table import ReportTable
from cxrvl.evaluation.probing import Network

FINDINGS = ["There is a small left pleural effusion.", "The heart is enlarged.", "Right lower lobe consolidation.",
            "The lungs are clear. No pneumothorax.", "A nodule in the left upper lobe."]  # fmt: skip
IMPRESSIONS = ["Left effusion.", "Cardiomegaly.", "Pneumonia.", "Normal.", "Nodule."]


class Written:
    """A source of reports alone; every fifth says the same."""

    shareable, name = False, "made"

    def __init__(self, count=60):
        self.count = count

    def reports(self):
        rows = [
            {"study": f"s{n:03d}", "patient": f"p{n // 2:03d}", "split": ("train", "val", "test")[n * 3 // self.count],
             "findings": FINDINGS[n % 5] + f" Number {n}.", "impression": IMPRESSIONS[n % 5], "Effusion": float(n % 5 == 0),
             "Cardiomegaly": float(n % 5 == 1)}
            for n in range(self.count)
        ]  # fmt: skip
        frame = pd.DataFrame(rows).assign(dataset="made")
        return ReportTable.build(frame, ["Effusion", "Cardiomegaly"], split_name="made", origin="made reports")


def by_words(texts):
    """An encoder whose embeddings are counts of letters: the same text, the same vector."""
    vectors = torch.zeros(len(texts), 64)
    for row, text in enumerate(texts):
        for letter in text.lower():
            vectors[row, ord(letter) % 64] += 1
    return vectors


class Encoder:
    """Stands for a task: embeds texts, and remembers which."""

    def __init__(self, encode=by_words):
        self.encode, self.asked = encode, []

    def __call__(self, batch):
        self.asked += batch["text"]
        bodies = [text[start:end] for text, (start, end) in zip(batch["text"], batch["body"].tolist(), strict=True)]
        return SimpleNamespace(embedding=self.encode(bodies))


def evaluated(evaluator, encoder=None, count=60):
    """The evaluator's predictions of a whole split, in batches."""
    data = ReportDataModule(
        Written(count), 8, {"default": {"policy": "findings_else_impression"}}, evaluation_batch_size=7
    )
    data.predict_splits = tuple(evaluator.splits)
    data.predict_rows = evaluator.scored(data.table)
    network = Network(encoder or Encoder(), torch.nn.Identity(), None)
    parts = [evaluator.probe(batch, None, network, data.table) for batch in data.predict_dataloader()]
    return evaluator.collect(parts, data.table)


RETRIEVAL = {"findings_to_impression": {"query": {"of": "findings"}, "document": {"of": "impression"}}}

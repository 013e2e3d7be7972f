"""A small study table of generated keys, and model outputs for it."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.studies import StudyTable

LABELS = ("Effusion", "Nodule", "Hernia")


@pytest.fixture
def make_table() -> Callable[..., StudyTable]:
    """Table of 60 patients with 1 to 3 images; Hernia is never positive in the test split; some boxes of Nodule."""

    def make(patients: int = 60, seed: int = 0, boxes: dict[int, list] | None = None) -> StudyTable:
        rng = np.random.default_rng(seed)
        rows = []
        for patient in range(patients):
            split = ("train", "val", "test", "test")[patient % 4]
            for image in range(rng.integers(1, 4)):
                values = (rng.random(3) < (0.4, 0.3, 0.0 if split == "test" else 0.5)).astype(float)
                values[rng.random(3) < 0.05] = np.nan
                rows.append(("made", f"made/{patient:03d}/{image}", str(patient), f"s{patient}", split, *values))
        frame = pd.DataFrame(rows, columns=["dataset", "image", "patient", "study", "split", *LABELS])
        frame["boxes"] = [(boxes or {}).get(row, []) for row in range(len(frame))]
        return StudyTable.build(frame, LABELS, split_name="made", root=None, origin="test", check_files=False)

    return make


def findings_output(table: StudyTable, index: np.ndarray, seed: int = 0, strength: float = 1.0) -> SimpleNamespace:
    """Logits that know the targets a little; the same for an image whatever the batch."""
    noise = np.random.default_rng(seed).normal(size=(len(table.frame), len(table.labels)))
    logits = (noise + strength * np.nan_to_num(table.targets())).astype(np.float32)
    return SimpleNamespace(logits=logits[index], maps=None)


@pytest.fixture
def score() -> Callable[..., list[pd.DataFrame]]:
    """Rows of an evaluator over batches of its splits."""

    def run(evaluator, table: StudyTable, batch: int = 7, **options) -> list[pd.DataFrame]:
        index = np.concatenate([table.split(name) for name in evaluator.splits])
        parts = []
        for start in range(0, len(index), batch):
            rows = index[start : start + batch]
            parts.append(evaluator.rows({"index": rows}, findings_output(table, rows, **options), table))
        return parts

    return run

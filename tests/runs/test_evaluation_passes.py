"""Evaluations of the same images share one pass over them; alone, each is the same to the last bit."""

from types import SimpleNamespace

import pandas as pd
import pytest
import pytorch_lightning as pl
from dual_doubles import Towers, batches, study_table
from torch.utils.data import DataLoader

from cxrvl.evaluation.predictions import read_predictions
from cxrvl.runs.evaluate import predict_missing
from cxrvl.runs.evaluations import Evaluation

DUAL = "cxrvl.evaluation.dual."
ASKED = {
    "retrieval": {
        "_target_": DUAL + "ImageTextRetrievalEvaluator",
        "tasks": {"plain": {"query": "image"}},
        "bootstrap": 5,
    },
    "reports": {"_target_": DUAL + "ReportScoresEvaluator", "bootstrap": 5},
    "embeddings": {"_target_": DUAL + "EmbeddingEvaluator"},
    "probe": {"_target_": DUAL + "ImageProbeEvaluator", "penalties": [0.1], "bootstrap": 5},
}


class Task(pl.LightningModule):
    """Counts what it is asked; answers as the towers do."""

    similarity_scale = 10.0

    def __init__(self, table):
        super().__init__()
        self.towers, self.images, self.texts = Towers(table, knows=0.8), 0, 0

    def encode_patches(self, images):
        return self.towers.encode_patches(images)

    def predict_step(self, batch, batch_idx=0):
        self.images += "image" in batch
        self.texts += "image" not in batch
        return self.towers.predict_step(batch)


class Data(pl.LightningDataModule):
    def __init__(self, table):
        super().__init__()
        self.table, self.predict_splits, self.predict_rows = table, (), None

    def predict_dataloader(self):
        rows = [row for split in self.predict_splits for row in self.table.split(split)]
        chosen = rows if self.predict_rows is None else [row for row in rows if row in set(self.predict_rows)]
        return DataLoader(list(batches(self.table, chosen)), batch_size=None)


@pytest.fixture
def evaluate(tmp_path):
    table = study_table(36, 1)

    def made(*names, folder):
        task, data = Task(table), Data(table)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(accelerator="cpu", devices=1, enable_model_summary=False, **quiet)
        asked = [Evaluation(name, name, tmp_path / folder / f"{name}.parquet", ASKED[name]) for name in names]
        (tmp_path / folder).mkdir(exist_ok=True)
        computed = predict_missing(task, data, trainer, asked, "final")
        return SimpleNamespace(computed=computed, task=task, files={one.name: one.path for one in asked})

    return made


def test_together_they_look_once_and_say_what_each_says_alone(evaluate):
    together = evaluate(*ASKED, folder="together")
    alone = {name: evaluate(name, folder="alone") for name in ASKED}
    assert sorted(together.computed) == sorted(ASKED)
    for name, path in together.files.items():
        found, expected = read_predictions(path), read_predictions(alone[name].files[name])
        pd.testing.assert_frame_equal(found.frame, expected.frame, check_exact=True)
        assert found.info == expected.info
    one = alone["retrieval"].task
    # The probe needs other splits, and no report.
    assert together.task.images == one.images + alone["probe"].task.images
    assert together.task.texts == one.texts > 0
    assert sum(each.task.images for each in alone.values()) > together.task.images


def test_what_is_there_is_left_and_the_rest_is_the_same(evaluate):
    whole = {name: path.read_bytes() for name, path in evaluate(*ASKED, folder="whole").files.items()}
    files = evaluate(*ASKED, folder="parts").files
    files["retrieval"].unlink()
    files["probe"].unlink()
    again = evaluate(*ASKED, folder="parts")
    assert sorted(again.computed) == ["probe", "retrieval"]
    assert {name: path.read_bytes() for name, path in again.files.items()} == whole


def test_answers_are_of_one_batch_alone(evaluate):
    """Two batches with the same texts are asked twice: nothing is kept from one batch to the next."""
    made = evaluate("retrieval", folder="one")
    assert made.task.texts == made.task.images

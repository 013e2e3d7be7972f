"""Are the pictures of a run that was offline sent later with its history, and only where they may leave?"""

import json

import numpy as np
import pytest

from cxrvl.files import write_yaml
from cxrvl.tracking import sync as syncing
from cxrvl.tracking import wandb_run
from cxrvl.tracking.pictures import KINDS, Picture, keep
from cxrvl.tracking.sharing import kept_to_share


class Run:
    """A W&B run that remembers what it is sent."""

    starting_step, url = 0, ""

    def __init__(self):
        self.rows, self.summary = {}, {}

    def log(self, values, step):
        self.rows[step] = values

    def finish(self, exit_code):
        pass


@pytest.fixture
def run_of(tmp_path):
    """Makes the folder of a finished run with two rows of history and pictures at the second."""

    def make(shareable, share_data):
        source = {"_target_": "cxrvl.data.sources.nih14.NIH14", "shareable": shareable}
        logger = {"wandb": {"share_data": share_data}}
        write_yaml(tmp_path / "config.yaml", {"name": "a/b", "seed": 0, "data": {"source": source}, "logger": logger})
        (tmp_path / "history.jsonl").write_text(
            "".join(json.dumps({"step": s, "train/loss": 1.0}) + "\n" for s in (4, 9))
        )
        pixels = np.full((4, 4), 9, np.uint8)
        keep(
            tmp_path,
            [Picture(pixels, KINDS[0], "Mass", "key.png", "report"), Picture(pixels, KINDS[0], "x", "k")],
            9,
            0,
        )
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("shareable", "share_data", "expected"), [(True, True, 2), (True, False, 0), (False, True, 0), (False, False, 0)]
)
def test_pictures_are_sent_with_their_step_where_they_may(run_of, monkeypatch, shareable, share_data, expected):
    folder, run = run_of(shareable, share_data), Run()
    assert len(kept_to_share(folder, share_data)) == expected
    monkeypatch.setattr(wandb_run, "open_run", lambda *given, **options: run)
    monkeypatch.setattr(wandb_run, "offline_folders", lambda folder: [folder])
    monkeypatch.setattr(syncing.shutil, "rmtree", lambda folder: None)
    syncing.sync(folder, "done", "offline")
    assert run.rows[4] == {"train/loss": 1.0, "trainer/global_step": 4}
    sent = run.rows[9].get(KINDS[0], [])
    assert [image._caption for image in sent] == ["key.png: Mass", "k: x"][:expected]
    assert set(run.rows[9]) - {KINDS[0]} == {"train/loss", "trainer/global_step"}

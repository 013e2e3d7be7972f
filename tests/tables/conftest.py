"""Predictions of made-up models, written as runs, for the tests of tables."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxrvl.evaluation.predictions import Predictions, write_predictions
from cxrvl.files import write_json, write_yaml
from cxrvl.tables.collect import RunFiles
from cxrvl.tables.spec import TableSpec

LABELS = ("Effusion", "Mass", "Nodule")
TABLE = """
title = "A table"
synthetic = true
intro = "Intro_with_underscores & 100 %."
resamples = 200

[groups]
pair = ["Effusion", "Mass"]

[line.main]
title = "Main line"
question = "Which row is better?"
rows = [{ name = "none", label = "Plain_net" }, { name = "acm", label = "Plain_net + ACM" }, { name = "se", label = "SE" }]
baseline = "none"
seeds = [0, 1, 2]
data_split = "official"
columns = [
  { evaluation = "findings", metric = "auroc", group = "pair", title = "AUROC, pair" },
  { evaluation = "findings", metric = "auroc", group = "all", title = "AUROC, all", tested = false },
]
comparisons = [["acm", "none"], ["se", "none"], ["acm", "se"]]
notes = ["A note."]
"""
PUBLISHED = """row,group,metric,value,sd,unit,split,protocol,source,status,note
acm,all,auroc,85.4,0.2,percent,official,single run,the paper,verified,
none,all,auroc,80.12,,percent,official,single run,the paper,unverified,recalled
se,all,auroc,81.00,,percent,random,single run,the paper,verified,
acm,Mass,auroc,0.8123,,fraction,official,single run,the paper,verified,
context/Other net,all,auroc,79.9,,percent,random,224 px,elsewhere,verified,
"""


@pytest.fixture
def table_folder(tmp_path: Path) -> Path:
    """A table folder with three rows, published numbers and a context row."""
    folder = tmp_path / "experiments" / "made_up"
    folder.mkdir(parents=True)
    (folder / "table.toml").write_text(TABLE, encoding="utf-8")
    (folder / "published.csv").write_text(PUBLISHED, encoding="utf-8")
    return folder


@pytest.fixture
def table(table_folder: Path) -> TableSpec:
    return TableSpec.load(table_folder)


def findings_frame(seed: int, skill: float, images: int = 240, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """Scores of a model: the same images and targets for every seed, better with more skill."""
    data = np.random.default_rng(1)
    model = np.random.default_rng(100 + seed)
    frame = pd.DataFrame({"dataset": "made", "image": [f"{i:04d}.png" for i in range(images)]})
    frame["patient"] = [f"p{i}" for i in np.sort(data.integers(0, images // 2, images))]
    frame["study"], frame["split"] = frame["image"], "test"
    targets = {label: (data.random(images) < 0.3).astype(np.float32) for label in labels}
    noise = {label: data.normal(size=images) for label in labels}
    for label in labels:
        frame[f"target/{label}"] = targets[label]
    for label in labels:
        score = noise[label] + 0.5 * model.normal(size=images) + (1 + skill) * targets[label]
        frame[f"logit/{label}"] = score.astype(np.float32)
    return frame


def marks_frame(seed: int, accuracy: float, images: int = 120, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """One mark per image and label, in the lesion's box with the given probability."""
    base = findings_frame(seed, accuracy, images, labels)
    model = np.random.default_rng(200 + seed)
    parts = []
    for label in labels:
        frame = base[["dataset", "image", "patient", "study", "split"]].assign(label=label, entry="mark", number=0)
        target = base[f"target/{label}"].to_numpy()
        hit = model.random(images) < accuracy
        frame["rating"] = base[f"logit/{label}"]
        frame["x"] = frame["y"] = np.where(hit, 0.5, 0.9).astype(np.float32)
        frame[["x0", "y0", "x1", "y1"]] = np.float32([0.4, 0.4, 0.6, 0.6])
        frame["target"] = target
        lesions = frame[target == 1].assign(entry="lesion", rating=np.nan, x=0.5, y=0.5)
        parts += [frame, lesions]
    return pd.concat(parts, ignore_index=True)


Written = Callable[..., RunFiles]


@pytest.fixture
def write_run(tmp_path: Path) -> Written:
    """Write a run folder with predictions by evaluation name; returns what `collect` wants."""

    def write(
        name: str,
        seed: int,
        frames: dict[str, pd.DataFrame],
        *,
        kind: str = "findings",
        labels: Sequence[str] = LABELS,
        split_name: str = "official",
        complete: bool = True,
        environment: dict[str, Any] | None = None,
    ) -> RunFiles:
        folder = tmp_path / "runs" / f"{name}-{seed}"
        (folder / "predictions").mkdir(parents=True, exist_ok=True)
        write_yaml(folder / "config.yaml", {"seed": seed, "name": name})
        write_json(folder / "environment.json", environment or {"commit": "c0ffee" * 6, "diff": "", "packages": {}})
        paths = {}
        for evaluation, frame in frames.items():
            paths[evaluation] = folder / "predictions" / f"{evaluation}-ab12.parquet"
            folds = {"test": len(frame.drop_duplicates(["dataset", "image"]))}
            built = Predictions.build(
                frame, kind=kind, labels=labels, folds=folds, split_name=split_name, complete=complete
            )
            write_predictions(paths[evaluation], built)
        return RunFiles(folder, paths)

    return write


SKILL = {"none": 0.0, "acm": 1.2, "se": 0.05}


@pytest.fixture
def all_runs(write_run: Written) -> dict[tuple[str, int], RunFiles]:
    """Every row and seed of the made-up table: acm clearly better, se hardly."""
    return {
        (row, seed): write_run(row, seed, {"findings": findings_frame(10 * place + seed, skill)})
        for place, (row, skill) in enumerate(SKILL.items())
        for seed in (0, 1, 2)
    }


@pytest.fixture
def make_findings() -> Callable[..., pd.DataFrame]:
    return findings_frame


@pytest.fixture
def make_marks() -> Callable[..., pd.DataFrame]:
    return marks_frame

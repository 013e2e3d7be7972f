"""Are the numbers of a robustness file those of its rows, and does every condition see the same images?"""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cxrvl.data.random import Draw
from cxrvl.data.transforms.corruptions import corrupt
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.predictions import read_predictions, write_predictions
from cxrvl.evaluation.probing import Network, Probing
from cxrvl.evaluation.robustness import RobustnessEvaluator

LABELS = ("Effusion", "Nodule", "Hernia")


def brightness(batch):
    """A model that knows the mean and the spread of an image, and its targets through them."""
    image = batch["image"]
    features = [image.mean((1, 2, 3)), image.std((1, 2, 3)), image.amax((1, 2, 3))]
    return SimpleNamespace(logits=torch.stack(features, 1))


@pytest.fixture
def scored(make_table):
    """Images whose spread shows Nodule and whose mean shows Effusion, so that contrast and gamma hurt."""
    table = make_table(patients=80)
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(len(table), 1, 24, 24, generator=rng)
    targets = torch.from_numpy(np.nan_to_num(table.targets()))
    strength = 0.2 + 0.15 * targets[:, 1] + 0.4 * torch.rand(len(table), generator=rng)
    level = 0.4 + 0.05 * targets[:, 0] + 0.1 * torch.rand(len(table), generator=rng)
    images = level.view(-1, 1, 1, 1) + (images - 0.5) * strength.view(-1, 1, 1, 1)
    assert 0 <= images.min() < images.max() <= 1

    def run(evaluator, batch_size=13):
        network = Network(brightness, torch.nn.Identity(), lambda: None)
        index, parts = np.concatenate([table.split(name) for name in evaluator.splits]), []
        for start in range(0, len(index), batch_size):
            rows = torch.from_numpy(index[start : start + batch_size])
            batch = {"image": images[rows], "index": rows}
            parts.append(evaluator.probe(batch, brightness(batch), network, table))
        return table, images, parts

    return run


def test_rows_hold_every_image_under_every_condition(scored, tmp_path):
    evaluator = RobustnessEvaluator(
        corruptions=["noise", "contrast"], severities=[1, 5], bootstrap=20, corruption_seed=4
    )
    assert isinstance(evaluator, Probing)
    table, images, parts = scored(evaluator)
    predictions = evaluator.collect([*parts, parts[0]], table)  # another process repeated a batch
    assert len(predictions.frame) == 5 * len(table.split("test"))
    write_predictions(tmp_path / "r.parquet", predictions)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "r.parquet", "robustness").frame, predictions.frame)
    row = int(table.split("test")[3])
    own = predictions.frame["image"] == table.frame["image"][row]
    here = predictions.frame[own].set_index(["corruption", "severity"])
    spoiled = corrupt(images[row : row + 1], "contrast", 5, Draw(4, 0, torch.tensor([row])))
    assert here.loc[("contrast", 5), "logit/Nodule"] == pytest.approx(float(spoiled.std()), abs=1e-6)
    assert here.loc[("clean", 0), "logit/Nodule"] == pytest.approx(float(images[row].std()), abs=1e-6)
    with pytest.raises(RunError, match="4 of 5 conditions"):
        evaluator.collect([part.drop(index=2) for part in parts], table)


def test_metrics_are_those_of_the_rows(scored):
    evaluator = RobustnessEvaluator(corruptions=["noise", "gamma"], severities=[2, 5], bootstrap=100,
                                    groups={"one": ["Nodule"]})  # fmt: skip
    table, _, parts = scored(evaluator)
    predictions = evaluator.collect(parts, table)
    metrics = evaluator.metrics(predictions)
    test = predictions.of_split("test")

    def auroc(name, severity, label):
        rows = test[(test["corruption"] == name) & (test["severity"] == severity) & test[f"target/{label}"].notna()]
        return roc_auc_score(rows[f"target/{label}"], rows[f"logit/{label}"])

    named = [(name, severity) for name in ("noise", "gamma") for severity in (2, 5)]
    values = {(n, s, label): auroc(n, s, label) for n, s in [("clean", 0), *named] for label in LABELS[:2]}
    entry = metrics["corruptions"]["gamma"]["severities"]["5"]
    assert entry["labels"]["Nodule"]["auroc"] == pytest.approx(values["gamma", 5, "Nodule"])
    assert entry["labels"]["Nodule"]["auroc_low"] < values["gamma", 5, "Nodule"]
    assert entry["labels"]["Hernia"]["auroc"] is None
    both = [values["gamma", 5, label] for label in LABELS[:2]]
    assert entry["mean"]["auroc"] == pytest.approx(np.mean(both))
    clean = np.mean([values["clean", 0, label] for label in LABELS[:2]])
    assert metrics["clean"]["mean"]["auroc"] == pytest.approx(clean)
    assert "drop" not in metrics["clean"]["mean"]
    assert entry["mean"]["drop"] == pytest.approx(clean - np.mean(both))
    assert entry["mean"]["drop_low"] < entry["mean"]["drop"] < entry["mean"]["drop_high"]
    all_of_them = np.mean([values[n, s, label] for n, s in named for label in LABELS[:2]])
    assert metrics["mean"]["auroc"] == pytest.approx(all_of_them)
    assert metrics["mean"]["drop"] == pytest.approx(clean - all_of_them)
    assert metrics["mean"]["undefined"] == ["Hernia"]
    one = np.mean([values[n, s, "Nodule"] for n, s in named])
    assert metrics["groups"]["one"]["auroc"] == pytest.approx(one)
    assert metrics["images"] == len(table.split("test"))
    json.dumps(metrics, allow_nan=False)
    assert evaluator.metrics(predictions) == metrics


def test_a_drop_is_paired_so_that_it_is_surer_than_its_parts(scored):
    evaluator = RobustnessEvaluator(corruptions=["contrast"], severities=[1], bootstrap=200)
    table, _, parts = scored(evaluator)
    found = evaluator.metrics(evaluator.collect(parts, table))["mean"]
    assert found["drop_high"] - found["drop_low"] < 0.5 * (found["auroc_high"] - found["auroc_low"])


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"score_split": "val"}, ConfigError, "score_split is 'val'"),
        ({"corruptions": ["fog"]}, ConfigError, "no corruption 'fog'"),
        ({"severities": [0]}, ConfigError, r"severities are \[0\]"),
        ({"severities": []}, ConfigError, r"severities are \[\]"),
        ({"uncertain": "no"}, ConfigError, "uncertain is 'no'"),
        ({"bootstrap": 0}, ConfigError, "bootstrap=0"),
    ],
)
def test_options_that_cannot_be_right(options, error, told):
    with pytest.raises(error, match=told):
        RobustnessEvaluator(**options)


def test_other_predictions_are_no_robustness(scored, tmp_path):
    evaluator = RobustnessEvaluator(corruptions=["contrast"], severities=[1], bootstrap=20)
    table, _, parts = scored(evaluator)
    write_predictions(tmp_path / "r.parquet", evaluator.collect(parts, table))
    with pytest.raises(DataError, match="'robustness', expected 'findings'"):
        read_predictions(tmp_path / "r.parquet", "findings")

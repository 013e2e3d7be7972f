"""Are findings told from their absence by sentences, as plain arithmetic says, and are wrong prompt sets refused?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dual_doubles import LABELS, SAYINGS, SIZE, Towers, batches, by_letters, evaluated, parts_of, study_table

from cxrvl.config.compose import compose_config, config_dir, resolved
from cxrvl.data.labels import VOCABULARY
from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.dual import ImageProbeEvaluator, ZeroShotEvaluator
from cxrvl.evaluation.dual.prompts import PromptSet
from cxrvl.evaluation.row_statistics import Scoring, statistics
from cxrvl.evaluation.statistics.auroc import auroc

TEMPLATES = {"present": ["There is {}."], "absent": ["There is no {}."]}
WHOLE = {label: {"present": [SAYINGS[label]], "absent": ["The lungs are clear."]} for label in LABELS}
OPTIONS = sorted(path.stem for path in (config_dir() / "evaluation" / "prompts").glob("*.yaml"))


def test_logits_are_the_scaled_difference_of_mean_similarities():
    table = study_table(12, 1)
    prompts = {"templates": {"present": ["{} seen.", "Large {}."], "absent": ["No {}."]},
               "names": {"Effusion": ["effusion", "fluid"]}}  # fmt: skip
    towers = Towers(table, knows=0.5)
    frame = evaluated(ZeroShotEvaluator(prompts, instruction="Look:"), table, towers).frame
    (batch,) = batches(table, np.flatnonzero(table.frame["image"] == frame["image"][0]))
    image = towers.predict_step(batch).embedding[0]

    def mean(texts):
        return torch.stack([image @ torch.nn.functional.normalize(by_letters([text]))[0] for text in texts]).mean()

    present = mean(["effusion seen.", "Large effusion.", "fluid seen.", "Large fluid."])
    expected = towers.similarity_scale * (present - mean(["No effusion.", "No fluid."]))
    assert frame["logit/Effusion"][0] == pytest.approx(expected.item(), rel=1e-4)
    assert "Look: Large fluid." in towers.asked


def test_an_oracle_names_every_finding_also_without_reports():
    table = study_table(120, 1)
    evaluator = ZeroShotEvaluator({"labels": WHOLE}, bootstrap=20)
    predictions = evaluated(evaluator, table, Towers(table, knows=0.9), paired=False)
    metrics = evaluator.metrics(predictions)
    assert metrics["mean"]["auroc"] > 0.95
    assert metrics["labels"]["Effusion"]["positives"] == 10
    assert metrics["mean"]["auroc_low"] <= metrics["mean"]["auroc"] <= metrics["mean"]["auroc_high"]
    found, count = statistics(predictions, "auroc", Scoring(), LABELS)
    test = predictions.of_split("test")
    assert found["Effusion"](np.ones((count, 1), dtype=np.float32))[0] == pytest.approx(
        auroc(test["logit/Effusion"].to_numpy(), test["target/Effusion"].to_numpy())
    )


def test_prompts_are_embedded_once_for_all_batches_and_anew_for_another_model():
    table = study_table(30, 1)
    evaluator = ZeroShotEvaluator({"templates": TEMPLATES})
    one, other = Towers(table), Towers(table)
    parts_of(evaluator, table, one, size=3)
    assert len(one.asked) == 6
    parts_of(evaluator, table, other)
    assert len(other.asked) == 6


def test_a_repeated_image_counts_once():
    table = study_table(30, 1)
    evaluator = ZeroShotEvaluator({"templates": TEMPLATES})
    parts = parts_of(evaluator, table)
    assert len(evaluator.collect([*parts, parts[0]], table).frame) == len(evaluator.collect(parts, table).frame) == 20


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "neither templates nor labels"),
        ({"template": TEMPLATES}, "unknown key 'template'; did you mean 'templates'"),
        ({"templates": {"present": ["{}"]}}, "expected sentences for present and absent"),
        ({"templates": {"present": ["effusion"], "absent": ["no {}"]}}, "expected one {} where the finding is named"),
        ({"labels": {"Effusion": {"present": [], "absent": ["a"]}}}, "expected a text, or a list of texts"),
    ],
)
def test_prompt_sets_that_cannot_be_right(prompts, message):
    with pytest.raises(ConfigError, match=message):
        ZeroShotEvaluator(prompts)


@pytest.mark.parametrize("key", ["names", "labels"])
def test_a_prompt_that_names_an_unknown_label_is_refused_before_anything_is_trained(key):
    given = {"names": {"Efusion": ["fluid"]}, "labels": {"Efusion": WHOLE["Effusion"]}}
    evaluator = ZeroShotEvaluator({"templates": TEMPLATES, key: given[key]})
    with pytest.raises(ConfigError, match=f"prompts.{key} names the label 'Efusion'; did you mean 'Effusion'"):
        evaluator.scored(study_table())


def test_data_without_labels_offers_nothing_to_score():
    with pytest.raises(DataError, match=r"has no label that the prompts stand for"):
        ZeroShotEvaluator({"templates": TEMPLATES}).scored(replace(study_table(), labels=()))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_prompt_set_names_labels_that_some_source_has(option):
    config = resolved(compose_config(["evaluation=dual", f"evaluation/prompts@evaluation.zero_shot.prompts={option}"]))
    prompts = PromptSet(config["evaluation"]["zero_shot"]["prompts"])
    named = [*prompts.names, *prompts.whole]
    assert set(named) <= set(VOCABULARY) | {"Pleural Effusion"}
    sentences = prompts.sentences(named or ["Effusion"])
    for sides in sentences.values():
        assert not set(sides["present"]) & set(sides["absent"])


@pytest.mark.parametrize("vectors", ["features", "embedding"])
@pytest.mark.parametrize("shots", [None, 3])
def test_a_linear_probe_of_the_image_tower(vectors, shots):
    table = study_table(120, 1)
    evaluator = ImageProbeEvaluator(vectors, shots=shots, bootstrap=10)
    predictions = evaluated(evaluator, table, Towers(table, knows=0.9), paired=False)
    assert predictions.frame["split"].value_counts().to_dict() == {"val": 40, "test": 40}
    assert evaluator.metrics(predictions)["mean"]["auroc"] > (0.9 if shots is None else 0.6)


def test_a_probe_reads_the_same_training_images_whatever_else_is_there():
    evaluator = ImageProbeEvaluator(train_images=8)
    small, large = study_table(60, 1), study_table(60, 2)
    rows = evaluator.scored(small)
    train = small.frame.iloc[rows][lambda f: f["split"] == "train"]
    assert len(train) == 8
    assert len(rows) == 48
    assert len(large.frame.iloc[evaluator.scored(large)][lambda f: f["split"] == "train"]) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vectors": "feature"}, "did you mean 'features'"),
        ({"shots": 0}, "at least 1 shot"),
        ({"threshold_split": "test"}, "three different splits"),
        ({"train_images": 1}, "at least 2 images"),
    ],
)
def test_probes_that_cannot_be_right(options, message):
    with pytest.raises(ConfigError, match=message):
        ImageProbeEvaluator(**options)


def test_the_double_gives_images_of_the_size_it_says():
    (batch,) = batches(study_table(12, 1), [0, 1])
    assert batch["image"].shape == (2, 1, SIZE, SIZE)

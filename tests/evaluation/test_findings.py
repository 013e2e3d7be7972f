"""FindingsEvaluator and the metrics of a findings file against scikit-learn and hand-made cases."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.classification import FindingsEvaluator
from cxrvl.evaluation.labels import known_targets
from cxrvl.evaluation.predictions import probabilities
from cxrvl.evaluation.statistics.operating_point import choose_threshold


@pytest.fixture
def scored(make_table, score):
    table = make_table(patients=200)

    def run(**options):
        evaluator = FindingsEvaluator(bootstrap=200, **options)
        predictions = evaluator.collect(score(evaluator, table), table)
        return predictions, evaluator.metrics(predictions)

    return run


def test_every_number_equals_its_independent_computation(scored):
    predictions, metrics = scored()
    test, val = predictions.of_split("test"), predictions.of_split("val")
    for label in ("Effusion", "Nodule"):
        entry = metrics["labels"][label]
        known = test[test[f"target/{label}"].notna()]
        y, logits = known[f"target/{label}"], known[f"logit/{label}"]
        p = probabilities(logits)
        assert (entry["n"], entry["positives"]) == (len(y), int(y.sum()))
        assert entry["auroc"] == pytest.approx(roc_auc_score(y, logits))
        assert entry["auprc"] == pytest.approx(average_precision_score(y, logits))
        assert entry["brier"] == pytest.approx(brier_score_loss(y, p))
        assert entry["interval_method"] == "Obuchowski, patients as clusters"
        there = val[val[f"target/{label}"].notna()]
        threshold = choose_threshold(there[f"logit/{label}"], there[f"target/{label}"])
        assert entry["threshold"] == pytest.approx(float(probabilities(threshold)))
        assert entry["sensitivity"] == pytest.approx((logits[y == 1] >= threshold).mean())
        assert entry["specificity"] == pytest.approx((logits[y == 0] < threshold).mean())
        for name in ("auroc", "sensitivity", "specificity"):
            assert entry[f"{name}_low"] < entry[name] < entry[f"{name}_high"]
        assert entry["undefined"] == {}
    mean = metrics["mean"]
    assert mean["auroc"] == pytest.approx(np.mean([metrics["labels"][x]["auroc"] for x in ("Effusion", "Nodule")]))
    assert mean["auroc_low"] < mean["auroc"] < mean["auroc_high"]
    assert (metrics["images"], metrics["patients"]) == (len(test), test["patient"].nunique())
    assert metrics["split_name"] == "made"


def test_a_class_without_positives_is_none_with_a_reason_and_left_out_of_the_mean(scored):
    _, metrics = scored()
    entry = metrics["labels"]["Hernia"]
    assert entry["auroc"] is None
    assert entry["auprc"] is None
    assert entry["undefined"]["auroc"] == "undefined: no positive image"
    assert entry["sensitivity"] is None
    assert entry["specificity"] is not None
    assert metrics["mean"]["defined"] == ["Effusion", "Nodule"]
    assert metrics["mean"]["undefined"] == {"Hernia": "undefined: no positive image"}
    json.dumps(metrics, allow_nan=False)


def test_groups_and_determinism(scored):
    _, metrics = scored(groups={"small": ["Nodule"], "none": ["Hernia"]})
    assert metrics["groups"]["small"]["auroc"] == metrics["labels"]["Nodule"]["auroc"]
    assert metrics["groups"]["none"]["auroc"] is None
    assert scored(groups={"small": ["Nodule"], "none": ["Hernia"]})[1] == metrics
    with pytest.raises(ConfigError, match=r"group 'g' names \['Mass'\]"):
        scored(groups={"g": ["Mass"]})


def test_uncertain_targets_count_as_the_policy_says(make_table, score):
    table = make_table(patients=100)
    frame = table.frame
    row = table.split("test")[0]
    frame.loc[row, "Nodule"] = np.float32(-1)
    counts = {}
    for policy in ("ignore", "zeros", "ones"):
        evaluator = FindingsEvaluator(uncertain=policy, bootstrap=1)
        entry = evaluator.metrics(evaluator.collect(score(evaluator, table), table))["labels"]["Nodule"]
        counts[policy] = entry["positives"], entry["negatives"]
    positives, negatives = counts["ignore"]
    assert counts["zeros"] == (positives, negatives + 1)
    assert counts["ones"] == (positives + 1, negatives)
    assert known_targets(np.array([1, 0, -1, np.nan]), "ones") == pytest.approx([1, 0, 1, np.nan], nan_ok=True)


def test_rows_take_targets_from_the_table_and_logits_of_any_tensor(make_table):
    table, evaluator = make_table(), FindingsEvaluator()
    logits = torch.randn(4, 3, dtype=torch.bfloat16, requires_grad=True)
    index = torch.tensor([5, 0, 9, 2])
    rows = evaluator.rows({"index": index}, SimpleNamespace(logits=logits), table)
    assert rows["image"].tolist() == table.frame["image"].iloc[[5, 0, 9, 2]].tolist()
    assert rows["target/Effusion"].to_numpy() == pytest.approx(table.targets()[[5, 0, 9, 2], 0], nan_ok=True)
    assert rows["logit/Nodule"].to_numpy() == pytest.approx(logits[:, 1].detach().float().numpy())
    with pytest.raises(RunError, match="another label set"):
        evaluator.rows({"index": index}, SimpleNamespace(logits=logits[:, :2]), table)


def test_a_target_sensitivity_is_reached_on_validation(scored):
    predictions, metrics = scored(threshold_rule="sensitivity", threshold_target=0.9)
    val = predictions.of_split("val")
    p, y = probabilities(val["logit/Nodule"]), val["target/Nodule"]
    assert (p[y == 1] >= metrics["labels"]["Nodule"]["threshold"]).mean() >= 0.9


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"splits": ("test",)}, "threshold_split is 'val'"),
        ({"threshold_split": "test"}, "are both 'test'"),
        ({"uncertain": "maybe"}, "uncertain is 'maybe'"),
        ({"threshold_rule": "sensitivity"}, "threshold_rule"),
        ({"bootstrap": 0}, "bootstrap=0"),
    ],
)
def test_options_that_cannot_be_right(options, word):
    with pytest.raises(ConfigError, match=word):
        FindingsEvaluator(**options)


def test_further_operating_points_are_fixed_on_validation_beside_the_main_one(scored):
    predictions, metrics = scored(operating_points={"screening": {"rule": "sensitivity", "target": 0.9}})
    _, alone = scored(threshold_rule="sensitivity", threshold_target=0.9)
    for label in ("Effusion", "Nodule", "Hernia"):
        point = metrics["labels"][label]["operating_points"]["screening"]
        same = {name: value for name, value in alone["labels"][label].items() if name in point and name != "undefined"}
        assert {name: point[name] for name in same} == same
        val = predictions.of_split("val")
        known = val[val[f"target/{label}"] == 1]
        if len(known):
            assert (probabilities(known[f"logit/{label}"]) >= point["threshold"]).mean() >= 0.9
    assert metrics["operating_points"] == {"screening": {"rule": "sensitivity", "target": 0.9}}
    assert metrics["labels"]["Effusion"]["threshold"] != point["threshold"]


def test_average_precision_has_an_interval_over_patients(scored):
    predictions, metrics = scored()
    entry, test = metrics["labels"]["Effusion"], predictions.of_split("test")
    known = test[test["target/Effusion"].notna()]
    numbers = known["patient"].astype("category").cat.codes.to_numpy()
    rng, drawn = np.random.default_rng(3), []
    for _ in range(400):
        times = np.bincount(rng.integers(0, numbers.max() + 1, numbers.max() + 1), minlength=numbers.max() + 1)[numbers]
        drawn.append(average_precision_score(known["target/Effusion"], known["logit/Effusion"], sample_weight=times))
    expected = np.quantile(drawn, [0.025, 0.975])
    assert (entry["auprc_low"], entry["auprc_high"]) == pytest.approx(tuple(expected), abs=0.03)
    assert (entry["auroc_bootstrap_low"], entry["auroc_bootstrap_high"]) == pytest.approx(
        (entry["auroc_low"], entry["auroc_high"]), abs=0.03
    )
    mean = metrics["mean"]
    assert mean["auprc_low"] < mean["auprc"] < mean["auprc_high"]


def test_some_data_sets_are_scored_apart_at_the_thresholds_of_all(make_table, score):
    table = make_table(patients=200)
    table.frame["dataset"] = np.where(table.frame["patient"].astype(int) % 3 == 0, "near", "far")
    evaluator = FindingsEvaluator(bootstrap=50, subsets={"external": ["far"]})
    predictions = evaluator.collect(score(evaluator, table), table)
    metrics = evaluator.metrics(predictions)
    part, test = metrics["subsets"]["external"], predictions.of_split("test")
    far = test[(test["dataset"] == "far") & test["target/Nodule"].notna()]
    assert part["labels"]["Nodule"]["auroc"] == pytest.approx(
        roc_auc_score(far["target/Nodule"], far["logit/Nodule"])
    )  # fmt: skip
    assert part["images"] == int((test["dataset"] == "far").sum()) < metrics["images"]
    assert part["labels"]["Nodule"]["threshold"] == metrics["labels"]["Nodule"]["threshold"]
    with pytest.raises(ConfigError, match=r"subsets.x names the data set 'fra'; did you mean 'far'\?"):
        FindingsEvaluator(bootstrap=5, subsets={"x": ["fra"]}).metrics(predictions)


def test_a_teacher_is_scored_by_the_name_of_its_output(make_table):
    table = make_table()
    index = table.split("test")[:5]
    given = np.arange(15, dtype=np.float32).reshape(5, 3)
    output = SimpleNamespace(logits=given, teacher_logits=torch.from_numpy(-given))
    rows = FindingsEvaluator(output="teacher_logits").rows({"index": index}, output, table)
    assert rows["logit/Nodule"].tolist() == (-given[:, 1]).tolist()
    with pytest.raises(RunError, match="'teacher_logits', which this task does not give"):
        FindingsEvaluator(output="teacher_logits").rows({"index": index}, SimpleNamespace(logits=given), table)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"operating_points": {"a": {"rule": "sensitivity"}}}, r"operating_points.a is 'sensitivity' with target None"),
        ({"operating_points": {"a": {"rul": "youden"}}}, r"operating_points.a: found 'rul'; did you mean 'rule'\?"),
        ({"operating_points": {"a": {"rule": "specificity", "target": 1.5}}}, "target 1.5"),
        ({"threshold_rule": "youden", "threshold_target": 0.9}, "threshold_rule is 'youden' with target 0.9"),
        ({"subsets": {"a": []}}, r"subsets.a is \[\]"),
    ],
)
def test_rules_and_subsets_that_mean_nothing_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        FindingsEvaluator(**options)

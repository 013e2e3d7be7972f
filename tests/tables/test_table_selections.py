"""Columns of external test sets, of a teacher, of corruptions, operating points and attention; single runs tested in pairs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrvl.errors import ConfigError, DataError
from cxrvl.evaluation.comparison import compare as compare_labels
from cxrvl.evaluation.predictions import Predictions, write_predictions
from cxrvl.evaluation.row_statistics import Selection
from cxrvl.evaluation.statistics.multiple import holm
from cxrvl.evaluation.statistics.operating_point import choose_threshold
from cxrvl.files import write_json, write_yaml
from cxrvl.tables.cells import document
from cxrvl.tables.collect import RunFiles, collect
from cxrvl.tables.compare import compare
from cxrvl.tables.render import markdown, write_tables
from cxrvl.tables.spec import TableSpec

LABEL = "Tuberculosis"
TABLE = """
title = "Generations"
resamples = 200

[line.tb]
title = "TB"
rows = [
  { name = "initial", label = "T = 0" }, { name = "t1", label = "T = 1" }, { name = "t2", label = "T = 2" },
  { name = "sup1", label = "Supervised, as T = 1" }, { name = "sup2", label = "Supervised, as T = 2" },
]
baseline = "initial"
seeds = [0, 1]
data_split = "mixed"
comparisons = [["t1", "sup1"], ["t2", "sup2"]]
columns = [
  { evaluation = "findings", metric = "auroc", title = "All" },
  { evaluation = "findings", metric = "auroc", datasets = ["far"], title = "External", published = "far" },
  { evaluation = "teacher", metric = "auroc", title = "Teacher", tested = false },
  { evaluation = "findings", metric = "auprc", title = "AUPRC", tested = false },
  { evaluation = "findings", metric = "specificity_at_90_sensitivity", title = "Specificity", tested = false },
  { evaluation = "robustness", metric = "corrupted_auroc", title = "Corrupted", tested = false },
  { evaluation = "robustness", metric = "corrupted_auroc", corruption = "blur", severity = 5, title = "Blur 5" },
  { evaluation = "attention", metric = "attention_in_box", title = "Attention in the box" },
]
"""
PUBLISHED = """row,group,metric,value,sd,unit,split,protocol,source,status,note
t1,far,auroc,0.878,,fraction,far,open data,the paper,verified,
t2,all,auroc,0.8,,fraction,mixed,open data,the paper,verified,
"""
SKILL = {"initial": 0.3, "t1": 1.6, "t2": 1.8, "sup1": 0.5, "sup2": 0.6}


def scores(row: str, seed: int, shift: float = 0.0, images: int = 400) -> pd.DataFrame:
    """Images of two hospitals in val and test, one per patient; the model is worse in the far one."""
    data, model = (
        np.random.default_rng(5),
        np.random.default_rng([seed, list(SKILL).index(row), round(100 * abs(shift))]),
    )
    frame = pd.DataFrame({"dataset": np.where(np.arange(images) % 4 == 0, "far", "near")})
    frame["image"] = frame["patient"] = frame["study"] = [f"{i:04d}" for i in range(images)]
    frame["split"] = np.where((np.arange(images) % 3 == 0) & (frame["dataset"] == "near"), "val", "test")
    target = (data.random(images) < 0.4).astype(np.float32)
    skill = (SKILL[row] - shift) * np.where(frame["dataset"] == "far", 0.6, 1.0)
    frame[f"target/{LABEL}"] = target
    frame[f"logit/{LABEL}"] = (data.normal(size=images) + 0.3 * model.normal(size=images) + skill * target).astype("f4")
    return frame


def corrupted(row: str, seed: int) -> pd.DataFrame:
    conditions = {("clean", 0): 0.0, ("blur", 1): 0.1, ("blur", 5): 0.4, ("noise", 1): 0.05, ("noise", 5): 0.2}
    parts = [scores(row, seed, shift).assign(corruption=name, severity=severity)
             for (name, severity), shift in conditions.items()]  # fmt: skip
    whole = pd.concat(parts, ignore_index=True)
    return whole[whole["split"] == "test"]


def attention(row: str, seed: int) -> pd.DataFrame:
    base = scores(row, seed)
    base = base[(base["split"] == "test") & (base[f"target/{LABEL}"] == 1)]
    base = base[["dataset", "image", "patient", "study", "split"]]
    rng = np.random.default_rng([seed, list(SKILL).index(row), 9])
    chance = np.random.default_rng(3).uniform(0.05, 0.15, len(base))
    parts = []
    for head in range(3):
        in_box = np.clip(chance + 0.1 * SKILL[row] * rng.random(len(base)), 0, 1)
        parts.append(base.assign(label=LABEL, head=head, in_box=in_box, chance=chance, entropy=0.8))
    return pd.concat(parts, ignore_index=True)


MADE = {
    "findings": ("findings", scores),
    "teacher": ("findings", lambda row, seed: scores(row, seed, -0.2)),
    "robustness": ("robustness", corrupted),
    "attention": ("attention", attention),
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> TableSpec:
    folder = tmp_path_factory.mktemp("experiments") / "generations"
    folder.mkdir()
    (folder / "table.toml").write_text(TABLE, encoding="utf-8")
    (folder / "published.csv").write_text(PUBLISHED, encoding="utf-8")
    return TableSpec.load(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[tuple[str, int], RunFiles]:
    place, found = tmp_path_factory.mktemp("runs"), {}
    for row in SKILL:
        for seed in (0, 1):
            folder, paths = place / f"{row}-{seed}", {}
            folder.mkdir()
            write_yaml(folder / "config.yaml", {"seed": seed, "name": row})
            write_json(folder / "environment.json", {"commit": "c0ffee" * 6, "diff": "", "packages": {}})
            for name, (kind, make) in MADE.items():
                frame = make(row, seed)
                folds = frame.drop_duplicates("image")["split"].value_counts().to_dict()
                paths[name] = folder / f"{name}-1.parquet"
                built = Predictions.build(frame, kind=kind, labels=[LABEL], folds=folds, split_name="mixed")
                write_predictions(paths[name], built)
            found[row, seed] = RunFiles(folder, paths)
    return found


@pytest.fixture(scope="module")
def result(spec, runs):
    return compare(spec, spec.line(), collect(spec.line(), runs))


def column(spec, title):
    return next(one for one in spec.line().columns if one.title == title)


def test_every_column_has_the_number_of_its_own_rows(spec, result):
    def mean(number):
        return np.mean([number(seed) for seed in (0, 1)])

    def of(frame):
        return frame[f"target/{LABEL}"], frame[f"logit/{LABEL}"]

    def test_of(seed, **where):
        frame = scores("t1", seed, **where)
        return frame[frame["split"] == "test"]

    def specificity(seed):
        frame = scores("t1", seed)
        val, test = frame[frame["split"] == "val"], frame[frame["split"] == "test"]
        limit = choose_threshold(of(val)[1], of(val)[0], rule="sensitivity", target=0.9)
        negatives = test[test[f"target/{LABEL}"] == 0]
        return (of(negatives)[1].astype(np.float64) < limit).mean()

    def over(seed, chosen):
        parts = corrupted("t1", seed).groupby(["corruption", "severity"])
        return np.mean([roc_auc_score(*of(part)) for key, part in parts if chosen(*key)])

    wanted = {
        "All": mean(lambda seed: roc_auc_score(*of(test_of(seed)))),
        "External": mean(lambda seed: roc_auc_score(*of(test_of(seed).query("dataset == 'far'")))),
        "Teacher": mean(lambda seed: roc_auc_score(*of(test_of(seed, shift=-0.2)))),
        "AUPRC": mean(lambda seed: average_precision_score(*of(test_of(seed)))),
        "Specificity": mean(specificity),
        "Corrupted": mean(lambda seed: over(seed, lambda name, _: name != "clean")),
        "Blur 5": mean(lambda seed: over(seed, lambda name, severity: (name, severity) == ("blur", 5))),
        "Attention in the box": mean(lambda seed: attention("t1", seed)["in_box"].mean()),
    }
    for title, value in wanted.items():
        cell = result.cell("t1", column(spec, title))
        assert cell["mean"] == pytest.approx(value, abs=1e-6), title
        assert cell["low"] < value < cell["high"], title
    assert len({round(value, 6) for value in wanted.values()}) == len(wanted)
    external = result.cell("t1", column(spec, "External"))
    assert external["n_images"] == 100
    (note,) = result.notes
    chance = attention("t1", 0)["chance"].mean()
    assert f"the boxes cover {100 * chance:.2f} %" in note


def test_generations_are_tested_against_their_own_supervised_rows_in_one_family(spec, result):
    tests = result.comparisons
    assert list(tests[["row", "against"]].itertuples(index=False, name=None)) == [("t1", "sup1"), ("t2", "sup2")] * 4
    assert list(dict.fromkeys(tests["title"])) == ["All", "External", "Blur 5", "Attention in the box"]
    np.testing.assert_allclose(tests["p_holm"], holm(tests["p_raw"].to_numpy()))
    all_images = tests[tests["title"] == "All"].set_index("row")
    t1, sup1 = (result.cell(row, column(spec, "All"))["mean"] for row in ("t1", "sup1"))
    assert all_images.loc["t1", "delta"] == pytest.approx(t1 - sup1)
    assert (all_images["p_holm"] < 0.05).all()
    assert np.isnan(result.cell("t1", column(spec, "All"))["p_raw"])  # not a test against the baseline


def test_single_runs_are_tested_by_delong_with_holm_per_seed(spec, result, runs):
    tests = result.delong
    assert len(tests) == 2 * 2 * 2  # comparisons, seeds, tested AUROC measures; the teacher is not tested
    predictions = collect(spec.line(), runs)
    pair = [predictions.of(row, "findings")[1] for row in ("t2", "sup2")]
    alone = compare_labels(*pair, selection=Selection(("far",)))[LABEL]
    mine = tests.query("row == 't2' and seed == 1 and measure == 'findings/auroc@far'").iloc[0]
    assert (mine["delta"], mine["low"], mine["p_raw"]) == pytest.approx((alone.difference, alone.low, alone.p))
    for _, own in tests.groupby("seed"):
        np.testing.assert_allclose(own["p_holm"], holm(own["p_raw"].to_numpy()))
    text = markdown(result)
    assert "Paired DeLong tests of single runs" in text
    assert "| T = 2 against Supervised, as T = 2 | AUROC, far | 1 |" in text


def test_published_numbers_stand_beside_their_own_test_set(spec, result, tmp_path):
    external = result.cell("t1", column(spec, "External"))
    assert external["published"] == pytest.approx(0.878)
    assert external["difference"] == pytest.approx(external["mean"] - 0.878)
    assert np.isnan(result.cell("t1", column(spec, "All"))["published"])
    assert result.cell("t2", column(spec, "All"))["published"] == pytest.approx(0.8)
    assert np.isnan(result.cell("t2", column(spec, "Teacher"))["published"])  # that was the student
    blocks = {block.title.partition(" (")[0]: block for block in document(result).main}
    assert dict(zip(blocks["External"].header, blocks["External"].rows[1], strict=True))["Published"] == "87.8"
    paths = write_tables(result, tmp_path)
    assert len(pd.read_csv(paths["delong"])) == len(result.delong)


def test_seed_records_say_how_many_there_were(result):
    seeds = result.seeds.query("row == 't1' and seed == 0").set_index("measure")
    assert set(seeds.index) == {
        "findings/auroc", "findings/auroc@far", "teacher/auroc", "findings/auprc", "robustness/corrupted_auroc",
        "findings/specificity_at_90_sensitivity", "robustness/corrupted_auroc#blur.5", "attention/attention_in_box",
    }  # fmt: skip
    test = scores("t1", 0).query("split == 'test'")
    assert seeds.loc["robustness/corrupted_auroc", "positives"] == test[f"target/{LABEL}"].sum()
    assert seeds.loc["findings/auroc@far", "positives"] == test.query("dataset == 'far'")[f"target/{LABEL}"].sum()
    assert seeds.loc["attention/attention_in_box", "positives"] == test[f"target/{LABEL}"].sum()
    assert (seeds["low"] < seeds["value"]).all()
    assert (seeds["value"] < seeds["high"]).all()


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection(("fa",)), "no scored image is of data set 'fa'; did you mean 'far'"),
        (Selection(corruption="blurr"), "corruption 'blurr'; did you mean 'blur'.* there are clean, blur, noise"),
        (Selection(severity=3), "at severity 3"),
    ],
)
def test_a_selection_of_nothing_is_named(spec, runs, selection, told):
    line = spec.line()
    chosen = replace(column(spec, "Corrupted"), selection=selection)
    line = replace(line, columns=(chosen,))
    files = {key: RunFiles(run.folder, {"robustness": run.predictions["robustness"]}) for key, run in runs.items()}
    with pytest.raises(DataError, match=told):
        compare(spec, line, collect(line, files))


def test_a_corruption_of_findings_is_refused(tmp_path: Path):
    folder = tmp_path / "t"
    folder.mkdir()
    wrong = TABLE.replace('metric = "auprc"', 'metric = "auprc", corruption = "blur"')
    (folder / "table.toml").write_text(wrong, encoding="utf-8")
    with pytest.raises(
        ConfigError, match="corruption and severity go with the metric corrupted_auroc, not with 'auprc'"
    ):
        TableSpec.load(folder)

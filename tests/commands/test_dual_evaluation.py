"""A dual tower is asked everything there is, on its own pairs, on another hospital's, and on images without reports."""

import json
import re

import pandas as pd
import pytest

from cxrvl.evaluation.predictions import read_predictions
from cxrvl.runs.store import RunStore

SMALL = (
    "data=phantom_pairs", "task=dual_tower", "model=dual_tiny", "evaluation=dual", "name=pairs", "logger=none",
    "evaluation/prompts@evaluation.zero_shot.prompts=phantom", "data.source.images=160", "data.batch_size=16",
    "trainer.max_epochs=1", "data.store.size=32", "+model.backbone.last_stride=1", "model.text_tower.base.sizes.hidden_size=32",
    "model.text_tower.base.sizes.intermediate_size=64", "model.dim=16",
    *(f"evaluation.{name}.bootstrap=20" for name in ("retrieval", "styles", "reports", "zero_shot", "probe", "few_shot")),
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cli_in):
    cli = cli_in(tmp_path_factory.mktemp("asked"))
    cli("train", *SMALL)
    (run,) = list(RunStore(cli.runs))
    return cli, run


@pytest.mark.slow
def test_every_evaluation_has_its_predictions_and_numbers(trained):
    _, run = trained
    metrics = {
        entry["name"]: entry["values"] for entry in json.loads((run.folder / "metrics.json").read_text()).values()
    }
    assert set(metrics) == {"retrieval", "styles", "reports", "zero_shot", "probe", "few_shot"}
    pool = metrics["retrieval"]["labels"]["image_to_report"]["pool"]
    assert pool == metrics["reports"]["pool"] == metrics["retrieval"]["labels"]["report_to_image"]["n"] > 20
    mean = metrics["retrieval"]["mean"]
    assert mean["recall_at_10_low"] <= mean["recall_at_10"] <= mean["recall_at_10_high"]
    assert 0 < metrics["zero_shot"]["mean"]["auroc"] < 1
    (path,) = run.predictions.glob("retrieval-*.parquet")
    frame = read_predictions(path, "ranks").frame
    # The plain task of another evaluation embeds and ranks the same anew.
    (path,) = run.predictions.glob("styles-*.parquet")
    styles = read_predictions(path, "ranks").frame
    again = styles[styles["label"] == "plain"].reset_index(drop=True)
    first = frame[frame["label"] == "image_to_report"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.drop(columns="label"), first.drop(columns="label"))
    (path,) = run.predictions.glob("reports-*.parquet")
    assert (read_predictions(path, "reports").frame["found"].to_numpy() == first["found_1"].to_numpy()).all()


@pytest.mark.slow
def test_the_gallery_shows_what_the_predictions_say(trained):
    _, run = trained
    (path,) = (run.folder / "pages").glob("retrieval-*.html")
    page = path.read_text()
    (predictions,) = run.predictions.glob("retrieval-*.parquet")
    frame = read_predictions(predictions, "ranks").of_split("test")
    frame = frame[frame["label"] == "image_to_report"].set_index("image")
    articles = page.split("<article>")[1:]
    assert len(articles) == 24
    names = [re.search(r"<small>(.*?)</small>", article)[1] for article in articles]
    assert len(set(names)) == 24
    for name, article in zip(names, articles, strict=True):
        row = frame.loc[name]
        assert re.findall(r"<li.*?<small>(.*?)</small>", article) == [row[f"found_{n}"] for n in range(1, 6)]
        own = f"{row['dataset']}/{row['study']}"
        assert ('<li class="own">' in article) == (own in [row[f"found_{n}"] for n in range(1, 6)])
        assert f"rank {1 + row['better_diagonal'] + row['tied_diagonal'] / 2:g}" in article
    assert sum("<figure>" in article for article in articles) > 3  # reports that mention a finding
    assert path.name in (run.folder / "pages" / "index.html").read_text()


@pytest.mark.slow
def test_a_matrix_of_data_sets_computes_what_is_missing_once(trained):
    cli, run = trained
    own, other = "phantom_pairs data.source.images=160", "phantom data.source.images=160 data.source.seed=8"
    ask = (
        "matrix",
        run.run_id[:6],
        "--data",
        own,
        other,
        "--evaluation",
        "zero_shot",
        "--metric",
        "auroc",
        "--out",
        "m.csv",
    )
    said = cli(*ask)
    table = pd.read_csv(cli.folder / "m.csv")
    assert table["own"].tolist() == [True, False]
    assert table["tested"].tolist() == [own, other]
    assert table["value"].between(0, 1).all()
    assert re.search(r"\d\.\d{3}\*", said)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    (mine,) = [
        e["values"]
        for stem, e in metrics.items()
        if e["name"] == "zero_shot" and e["values"]["images"] == table["images"][0]
    ]
    assert table["value"][0] == pytest.approx(mine["mean"]["auroc"])
    files = sorted(run.predictions.glob("zero_shot-*.parquet"))
    assert len(files) == 2
    cli(*ask)
    assert sorted(run.predictions.glob("zero_shot-*.parquet")) == files


@pytest.mark.slow
def test_other_pairs_of_the_same_table_are_another_evaluation(trained):
    cli, run = trained
    before = set(run.predictions.glob("retrieval-*.parquet"))
    only = [f"evaluation.{name}=null" for name in ("styles", "reports", "zero_shot", "probe", "few_shot")]
    cli("evaluate", "--run", run.run_id, "data.pairing=all", *only)
    (path,) = set(run.predictions.glob("retrieval-*.parquet")) - before
    views, first = (read_predictions(one, "ranks").frame for one in (path, next(iter(before))))
    asked = [len(one[one["label"] == "image_to_report"]) for one in (views, first)]
    pools = [one["pool"][one["label"] == "image_to_report"].iloc[0] for one in (views, first)]
    assert asked[0] >= asked[1]
    assert pools[0] == pools[1]  # the reports are the same


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "phantom", "--evaluation", "retrieval", "--metric", "mrr"), r"the data has no pairs of both"),
        (("--data", "phantom", "--evaluation", "retreival", "--metric", "mrr"), r"has no evaluation 'retreival'"),
        (
            ("--data", "phantom", "--evaluation", "zero_shot", "--metric", "auc"),
            r"there is no metric 'auc'; did you mean",
        ),
        (
            ("--data", "phantom_reports", "--evaluation", "zero_shot", "--metric", "auroc"),
            r"phantom_reports has no images",
        ),
        (("--data", "phantom", "--evaluation", "retrieval", "--metric", "auroc"), r"evaluation 'retrieval' of run"),
        (
            ("--data", "phantom", "--evaluation", "probe", "--metric", "auroc", "--set", "evaluation.probe=null"),
            r"has no evaluation 'probe'; there are",
        ),
        (
            ("--data", "phantom_tuberculosis", "--evaluation", "zero_shot", "--metric", "auroc"),
            r"prompts\.names names the label",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(trained, words, message):
    cli, run = trained
    few = [f"{word} data.source.images=60" if word.startswith("phantom") else word for word in words]
    assert re.search(message, " ".join(cli("matrix", run.run_id, *few, code=2).split()))


@pytest.mark.slow
def test_what_a_classifier_cannot_answer_is_refused_before_it_is_trained(cli):
    said = cli("train", "evaluation=dual_images", "data.source.images=60", "data.store.size=32", "logger=none", code=2)
    assert re.search(r"evaluation.zero_shot needs a DualEncoder, which Classification is not", said)
    assert not list(cli.runs.glob("*/checkpoints/*"))

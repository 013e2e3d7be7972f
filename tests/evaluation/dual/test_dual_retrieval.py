"""Do images find their reports, under every duplicate policy, and are the ranks those of torchmetrics and plain counting?"""

from contextlib import nullcontext
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from dual_doubles import Output, Towers, batches, evaluated, parts_of, study_table
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR

from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.dual import (
    ClassRetrievalEvaluator,
    EmbeddingEvaluator,
    ImageTextRetrievalEvaluator,
    ReportScoresEvaluator,
)
from cxrvl.evaluation.predictions import read_predictions, write_predictions
from cxrvl.evaluation.probing import Network
from cxrvl.evaluation.ranking import Pool, nearest, ranks
from cxrvl.evaluation.row_statistics import Scoring, statistics
from cxrvl.evaluation.text_metrics import WeightedMedian, rank_values

BOTH = {"image_to_report": {"query": "image"}, "report_to_image": {"query": "report"}}


def drawn_pool(seed=0, studies=24, texts=9, images=40):
    rng = np.random.default_rng(seed)
    text_of = np.concatenate([np.arange(texts), rng.integers(0, texts, studies - texts)])
    study_of = np.concatenate([np.arange(studies), rng.integers(0, studies, images - studies)])
    order = rng.permutation(images)
    documents = rng.integers(-2, 3, (images, 4)).astype(np.float32)  # few values: many ties
    queries = rng.integers(-2, 3, (studies, 4)).astype(np.float32)
    return queries, documents, study_of[order], text_of[study_of[order]], text_of


def test_ranks_are_those_of_plain_counting_with_many_ties():
    queries, documents, studies, texts, asked = drawn_pool()
    found = ranks(queries, Pool.build(documents, texts, studies), asked, np.arange(len(queries)))
    for row, query in enumerate(queries):
        near = documents @ query
        mine, own = near[texts == asked[row]].max(), near[studies == row].max()
        other = texts != asked[row]
        assert found["own"][row] == mine
        assert found["better"][row] == (near[other] > mine).sum()
        assert found["own_tied"][row] == (near[~other] == mine).sum()
        assert found["tied"][row] == (near[other] == mine).sum()
        assert found["better_diagonal"][row] == (near[studies != row] > own).sum()
        assert found["tied_diagonal"][row] == (near[studies != row] == own).sum()
        best = np.array([near[texts == text].max() for text in range(9)])
        assert found["better_unique"][row] == (best > mine).sum()
        assert found["tied_unique"][row] == (best == mine).sum() - 1
        assert found["copies"][row] == (texts == asked[row]).sum()
    assert set(found["pool"]) == {40.0}
    assert set(found["pool_unique"]) == {9.0}


@pytest.mark.parametrize(("better", "tied", "own"), [(0, 3, 1), (0, 2, 3), (2, 1, 2), (1, 4, 2), (0, 0, 4), (7, 2, 2)])
def test_ties_are_the_mean_over_all_orders_also_of_several_own_documents(better, tied, own):
    """Documents as near as the own ones stand before, between or behind them by chance."""
    frame = pd.DataFrame({"better": [better], "tied": [tied], "own_tied": [own], "better_diagonal": [0.0]})
    orders = set(permutations([True] * own + [False] * tied))
    ranked = np.array([better + 1 + order.index(True) for order in orders])
    assert rank_values(frame, "rank") == pytest.approx(ranked.mean())
    assert rank_values(frame, "mrr") == pytest.approx((1 / ranked).mean())
    for k in (1, 5, 10):
        assert rank_values(frame, f"recall_at_{k}") == pytest.approx((ranked <= k).mean())


def test_a_collapsed_tower_finds_a_text_as_often_as_it_is_there():
    table = study_table(60, 1, numbered=False)
    towers = Towers(table)
    same = lambda batch: Output(torch.ones(len(batch.get("index", batch["text"])), 32), torch.ones(1))  # noqa: E731
    towers.predict_step = same
    frame = evaluated(ImageTextRetrievalEvaluator(BOTH), table, towers).frame
    assert rank_values(frame, "recall_at_1") == pytest.approx((frame["copies"] / frame["pool"]).to_numpy())


def test_ranks_are_those_of_torchmetrics():
    rng = np.random.default_rng(1)
    _, _, studies, texts, asked = drawn_pool()
    queries, documents = (rng.random((n, 8)).astype(np.float32) for n in (len(asked), len(texts)))
    frame = pd.DataFrame(ranks(queries, Pool.build(documents, texts, studies), asked, np.arange(len(asked))))
    near = torch.from_numpy(queries @ documents.T)
    index = torch.arange(len(asked))[:, None].expand(near.shape).flatten()
    right = {"any": texts[None] == asked[:, None], "diagonal": studies[None] == np.arange(len(asked))[:, None]}
    for policy, answers in right.items():
        target = torch.from_numpy(answers).flatten()
        for k in (1, 5, 10):
            expected = RetrievalHitRate(top_k=k)(near.flatten(), target, indexes=index).item()
            assert rank_values(frame, f"recall_at_{k}", policy).mean() == pytest.approx(expected)
        expected = RetrievalMRR()(near.flatten(), target, indexes=index).item()
        assert rank_values(frame, "mrr", policy).mean() == pytest.approx(expected)


def test_blocks_change_nothing(monkeypatch):
    queries, documents, studies, texts, asked = drawn_pool(3)
    pool = Pool.build(documents, texts, studies)
    whole, near = ranks(queries, pool, asked, np.arange(len(queries))), nearest(queries, pool, 5)
    monkeypatch.setattr("cxrvl.evaluation.ranking.BLOCK", 5)
    cut = ranks(queries, pool, asked, np.arange(len(queries)))
    assert all((whole[name] == cut[name]).all() for name in whole)
    np.testing.assert_array_equal(near.near, nearest(queries, pool, 5).near)


def test_the_nearest_documents_are_named_by_their_own_places():
    rng = np.random.default_rng(0)
    documents, queries = rng.standard_normal((30, 6)).astype(np.float32), rng.standard_normal((4, 6)).astype(np.float32)
    found = nearest(queries, Pool.build(documents, rng.permutation(30) % 7, None), 5)
    np.testing.assert_array_equal(found.places, np.argsort(-(queries @ documents.T), axis=1)[:, :5])
    np.testing.assert_allclose(found.near, np.sort(queries @ documents.T, axis=1)[:, ::-1][:, :5], rtol=1e-6)


def test_the_median_is_numpys_and_its_replicates_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    values, numbers = rng.integers(1, 40, 31).astype(float), rng.integers(0, 9, 31)
    counts = np.stack([np.ones(9), *rng.integers(0, 4, (5, 9)), np.zeros(9)], axis=1).astype(np.float32)
    found = WeightedMedian(values, numbers)(counts)
    expected = [np.median(np.repeat(values, counts[numbers, column].astype(int))) for column in range(6)]
    np.testing.assert_allclose(found[:6], expected)
    assert np.isnan(found[6])


def test_an_oracle_finds_everything_both_ways():
    table = study_table()
    evaluator = ImageTextRetrievalEvaluator(BOTH, bootstrap=10)
    predictions = evaluated(evaluator, table, Towers(table))
    metrics = evaluator.metrics(predictions)
    for name, rows, pool in (("image_to_report", 40, 20), ("report_to_image", 20, 40)):
        entry = metrics["labels"][name]
        assert (entry["n"], entry["pool"], entry["pool_unique"]) == (rows, pool, 20)
        assert entry["recall_at_1"] == entry["recall_at_1_diagonal"] == entry["mrr_unique"] == 1.0
        assert entry["median_rank"] == entry["median_rank_low"] == 1.0
    asked = predictions.frame[predictions.frame["label"] == "image_to_report"]
    assert (asked["found_1"] == "made/" + asked["study"]).all()
    np.testing.assert_allclose(asked["near_1"], asked["own"])


def test_identical_reports_are_told_apart_under_the_diagonal_policy_alone():
    table = study_table(numbered=False)
    evaluator = ImageTextRetrievalEvaluator(BOTH, bootstrap=10)
    metrics = evaluator.metrics(evaluated(evaluator, table, Towers(table)))
    found = metrics["labels"]["image_to_report"]
    assert (found["pool"], found["pool_unique"], found["with_copies"]) == (20, 4, 40)
    assert found["recall_at_1"] == found["recall_at_1_unique"] == 1.0
    assert found["recall_at_1_diagonal"] == pytest.approx(1 / 5)  # five studies say the same
    assert found["median_rank_diagonal"] == 3.0


def test_towers_that_know_nothing_are_near_chance():
    table = study_table(300, 1)
    evaluator = ImageTextRetrievalEvaluator(BOTH, bootstrap=50)
    entry = evaluator.metrics(evaluated(evaluator, table, Towers(table, knows=0.0)))["labels"]["image_to_report"]
    assert entry["recall_at_10"] < 0.3
    assert entry["median_rank"] > 25
    assert entry["recall_at_10_low"] <= entry["recall_at_10"] <= entry["recall_at_10_high"]


def test_rewritten_reports_are_harder_to_find_and_keep_their_identity():
    tasks = BOTH | {"abbreviated": {"query": "image", "styles": {"abbreviate": 1.0, "omit": 0.3}},
                    "asked_abbreviated": {"query": "report", "styles": {"abbreviate": 1.0, "omit": 0.3}}}  # fmt: skip
    table, towers = study_table(numbered=False), None
    evaluator = ImageTextRetrievalEvaluator(tasks, bootstrap=5)
    towers = Towers(table)
    frame = evaluated(evaluator, table, towers).frame
    rows = {name: frame[frame["label"] == name].reset_index(drop=True) for name in tasks}
    assert (rows["abbreviated"]["text"] == rows["image_to_report"]["text"]).all()
    assert (rows["abbreviated"]["copies"] == 5).all()
    assert rows["abbreviated"]["own"].mean() < rows["image_to_report"]["own"].mean()
    assert len(set(towers.asked)) > 4
    assert len(evaluator.styles) == 1  # the same rewriting is embedded once


def test_parts_of_two_processes_are_the_predictions_of_one(tmp_path):
    table = study_table()
    evaluator = ImageTextRetrievalEvaluator(BOTH, bootstrap=5)
    parts = parts_of(evaluator, table)
    predictions = evaluator.collect(parts, table)
    pd.testing.assert_frame_equal(evaluator.collect([*parts[::-1], parts[0]], table).frame, predictions.frame)
    path = tmp_path / "ranks.parquet"
    write_predictions(path, predictions)
    pd.testing.assert_frame_equal(read_predictions(path, "ranks").frame, predictions.frame)
    assert b"effusion." not in path.read_bytes()
    metric, count = statistics(predictions, "recall_at_1_diagonal", Scoring(), ["image_to_report"])
    assert metric["image_to_report"](np.ones((count, 1), dtype=np.float32)) == [1.0]


def test_a_pool_smaller_than_what_is_shown_has_no_names_beyond_it():
    table = study_table(12, 1)
    frame = evaluated(ImageTextRetrievalEvaluator(BOTH), table).frame
    assert (frame["found_4"] != "").all()
    assert (frame["found_5"] == "").all()
    assert frame["near_5"].isna().all()


@pytest.mark.parametrize(
    "evaluator",
    [
        ImageTextRetrievalEvaluator(BOTH), ReportScoresEvaluator(), EmbeddingEvaluator(),
        ClassRetrievalEvaluator(["Effusion", "Cardiomegaly"]),
    ],
)  # fmt: skip
def test_images_without_reports_are_refused_before_anything_is_trained(evaluator):
    table = study_table()
    alone = StudyTable.build(
        table.frame.drop(columns="findings"), table.labels, split_name="made", root=None, origin="t", check_files=False
    )
    assert len(evaluator.scored(table))
    with pytest.raises(DataError, match=r"the data has no pairs of both"):
        evaluator.scored(alone)


def test_a_model_without_a_common_space_is_refused():
    table = study_table()
    evaluator = ImageTextRetrievalEvaluator(BOTH)
    with pytest.raises(RunError, match=r"the data has no pairs of both"):
        parts_of(evaluator, table, paired=False)
    towers = Towers(table)
    (batch,) = batches(table, [0, 1])
    other = Network(towers.predict_step, torch.nn.Identity(), nullcontext)
    with pytest.raises(RunError, match=r"compares images with texts, which Identity does not"):
        evaluator.probe(batch, towers.predict_step(batch), other, table)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "tasks is empty"),
        ({"a": {"query": "imag"}}, "did you mean 'image'"),
        ({"a": {"query": "image", "style": {}}}, "unknown key 'style'; did you mean 'styles'"),
        ({"a": {"query": "image", "styles": {"abreviate": 1.0}}}, "abbreviate"),
    ],
)
def test_options_that_cannot_be_right(tasks, message):
    with pytest.raises(ConfigError, match=message):
        ImageTextRetrievalEvaluator(tasks)

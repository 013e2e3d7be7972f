"""Do the evaluations of texts count what they say: ranks under every duplicate policy, choices, pairs, probes?"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from text_doubles import FINDINGS, IMPRESSIONS, RETRIEVAL, Encoder, Written, evaluated
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR

from cxrvl.data.modules import ReportDataModule
from cxrvl.errors import ConfigError, DataError, RunError
from cxrvl.evaluation.predictions import read_predictions, write_predictions
from cxrvl.evaluation.probing import Network
from cxrvl.evaluation.ranking import Pool, ranks
from cxrvl.evaluation.row_statistics import Scoring, scored_images, statistics
from cxrvl.evaluation.statistics.logistic import fit_logistic
from cxrvl.evaluation.statistics.spearman import PairSpearman
from cxrvl.evaluation.text import (
    ClinicalSimilarityEvaluator,
    ErrorDiscriminationEvaluator,
    LabelProbeEvaluator,
    TextRetrievalEvaluator,
)
from cxrvl.evaluation.text.clinical import label_agreement
from cxrvl.evaluation.text.similarity import drawn_pairs
from cxrvl.evaluation.text_metrics import choice_values, rank_values


def test_ranks_are_those_of_torchmetrics():
    rng = np.random.default_rng(0)
    queries, pool = (rng.standard_normal((n, 8)).astype(np.float32) for n in (40, 25))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    own = rng.integers(25, size=40)
    own[:25] = np.arange(25)  # every document is somebody's
    frame = pd.DataFrame(ranks(queries, Pool.build(pool, np.arange(25), counts=np.bincount(own, minlength=25)), own))
    near = torch.from_numpy(queries @ pool.T) + 2  # torchmetrics takes what is not positive for not retrieved
    index = torch.arange(40)[:, None].expand(40, 25)
    target = torch.zeros(40, 25, dtype=torch.bool)
    target[torch.arange(40), torch.from_numpy(own)] = True
    asked = (near.flatten(), target.flatten())
    for k in (1, 5, 10):
        expected = RetrievalHitRate(top_k=k)(*asked, indexes=index.flatten()).item()
        assert rank_values(frame, f"recall_at_{k}", "unique").mean() == pytest.approx(expected)
    assert rank_values(frame, "mrr", "unique").mean() == pytest.approx(
        RetrievalMRR()(*asked, indexes=index.flatten()).item()
    )
    # With copies in the pool: any copy counts, against all documents.
    copies = torch.from_numpy(own)
    whole, same = near[:, copies], copies[None] == copies[:, None]
    index = torch.arange(40)[:, None].expand(40, 40).flatten()
    for k in (1, 5, 10):
        expected = RetrievalHitRate(top_k=k)(whole.flatten(), same.flatten(), indexes=index).item()
        assert rank_values(frame, f"recall_at_{k}").mean() == pytest.approx(expected)


def test_a_copy_competes_under_the_diagonal_policy_alone():
    row = pd.DataFrame({"better": [0.0, 1.0], "tied": [0.0, 0.0], "copies": [4.0, 2.0],
                        "better_unique": [0.0, 1.0], "tied_unique": [0.0, 0.0]})  # fmt: skip
    assert rank_values(row, "recall_at_1").tolist() == [1, 0]
    assert rank_values(row, "recall_at_1", "diagonal").tolist() == [0.25, 0]
    assert rank_values(row, "recall_at_5", "diagonal").tolist() == [1, 1]
    expected = [np.mean([1, 1 / 2, 1 / 3, 1 / 4]), np.mean([1 / 2, 1 / 3])]
    assert rank_values(row, "mrr", "diagonal") == pytest.approx(expected)


def test_retrieval_end_to_end():
    evaluator = TextRetrievalEvaluator(RETRIEVAL, instruction="Find it.", bootstrap=20)
    encoder = Encoder()
    predictions = evaluated(evaluator, encoder)
    frame = predictions.frame
    assert len(frame) == 20
    assert set(frame["pool"]) == {20.0}
    assert set(frame["pool_unique"]) == {5.0}
    assert set(frame["copies"]) == {4.0}
    assert sum(text.startswith("Find it. ") for text in encoder.asked) == 20
    assert not any(text.startswith("Find it.") and text.endswith(tuple(IMPRESSIONS)) for text in encoder.asked)
    metrics = evaluator.metrics(predictions)
    entry = metrics["labels"]["findings_to_impression"]
    assert (entry["n"], entry["pool"], entry["pool_unique"], entry["with_copies"]) == (20, 20, 5, 20)
    assert entry["recall_at_1_diagonal"] == pytest.approx(entry["recall_at_1"] / 4)
    assert entry["recall_at_1_low"] <= entry["recall_at_1"] <= entry["recall_at_1_high"]
    assert metrics["mean"]["recall_at_5_unique"] == 1.0


def test_an_encoder_that_knows_the_answer_finds_everything():
    def oracle(texts):
        return torch.eye(5)[
            [next(i for i in range(5) if text.startswith((FINDINGS[i], IMPRESSIONS[i]))) for text in texts]
        ]

    metrics = (one := TextRetrievalEvaluator(RETRIEVAL, bootstrap=5)).metrics(evaluated(one, Encoder(oracle)))
    assert metrics["mean"]["recall_at_1"] == metrics["mean"]["mrr"] == 1.0
    assert metrics["mean"]["recall_at_1_diagonal"] == 0.25


def test_unchanged_queries_stay_in_the_pool_and_ask_nothing():
    tasks = {"upper": {"query": {"of": "findings", "styles": {"shuffle": 1.0}}, "document": {"of": "findings"}}}
    every = evaluated(TextRetrievalEvaluator(tasks, keep="all")).frame
    changed = evaluated(TextRetrievalEvaluator(tasks, keep="changed")).frame
    assert set(every["pool"]) == set(changed["pool"]) == {20.0}
    assert len(changed) <= len(every) == 20


def test_parts_of_two_processes_are_the_predictions_of_one():
    evaluator = TextRetrievalEvaluator(RETRIEVAL)
    data = ReportDataModule(Written(), 8, {"default": {"policy": "findings_else_impression"}}, evaluation_batch_size=7)
    network = Network(Encoder(), torch.nn.Identity(), None)
    parts = [evaluator.probe(batch, None, network, data.table) for batch in data.predict_dataloader()]
    pd.testing.assert_frame_equal(
        evaluator.collect([*parts[::-1], parts[0]], data.table).frame, evaluator.collect(parts, data.table).frame
    )


@pytest.mark.parametrize(
    "evaluator",
    [
        TextRetrievalEvaluator(RETRIEVAL, bootstrap=5),
        ErrorDiscriminationEvaluator(of="findings", query={"of": "impression"}, bootstrap=5),
        ClinicalSimilarityEvaluator(of="findings", pairs=50, bootstrap=5),
        LabelProbeEvaluator(of="findings", bootstrap=5),
    ],
)
def test_files_hold_the_predictions_and_no_text(evaluator, tmp_path):
    predictions = evaluated(evaluator)
    path = tmp_path / "one.parquet"
    write_predictions(path, predictions)
    read = read_predictions(path, evaluator.kind)
    pd.testing.assert_frame_equal(read.frame, predictions.frame)
    assert evaluator.metrics(read) == evaluator.metrics(predictions)
    assert not any(words in path.read_bytes() for words in (b"effusion.", b"enlarged", b"Pneumonia"))


def test_choices_with_ties():
    frame = pd.DataFrame({"true": [0.9, 0.5, 0.5, 0.1], "wrong_1": [0.1, 0.5, 0.6, 0.2], "wrong_2": [0.2, 0.5, 0.1, 0.3],
                          "wrong_3": [0.3, 0.1, 0.2, 0.4]})  # fmt: skip
    assert choice_values(frame, "accuracy").tolist() == [1, 0, 0, 0]
    assert choice_values(frame, "accuracy_with_ties").tolist() == [1, 1 / 3, 0, 0]
    np.testing.assert_allclose(choice_values(frame, "margin"), [0.6, 0, -0.1, -0.3])
    assert choice_values(frame, "rank").tolist() == [1, 2, 2, 4]


def test_error_discrimination_end_to_end():
    kinds = {"claims": ["false_prediction", "false_negation"]}
    evaluator = ErrorDiscriminationEvaluator(kinds, of="findings", query={"of": "impression"}, bootstrap=5)
    encoder = Encoder()
    predictions = evaluated(evaluator, encoder)
    assert len(predictions.frame) > 10
    assert len(encoder.asked) >= 4 * len(predictions.frame) / 2
    values = evaluator.metrics(predictions)["labels"]["claims"]
    assert 0 <= values["choice_accuracy"] <= values["choice_accuracy_with_ties"] <= 1
    assert 1 <= values["choice_rank"] <= 4


def test_spearman_is_scipys_and_its_replicates_those_of_repeated_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 60).astype(float), rng.standard_normal(60)
    first, second = rng.integers(0, 9, 60), rng.integers(9, 20, 60)
    one = PairSpearman(x, y, first, second)
    counts = np.stack([np.ones(20), rng.integers(0, 3, 20)], axis=1).astype(np.float32)
    times = (counts[first, 1] * counts[second, 1]).astype(int)
    expected = [spearmanr(x, y)[0], spearmanr(np.repeat(x, times), np.repeat(y, times))[0]]
    np.testing.assert_allclose(one(counts), expected)
    assert np.isnan(PairSpearman(np.ones(60), y, first, second)(counts)).all()


@pytest.mark.parametrize(("reports", "pairs"), [(6, 100), (50, 200), (3000, 500)])
def test_pairs_are_different_pairs_of_different_reports(reports, pairs):
    first, second = drawn_pairs(reports, pairs, seed=0)
    assert len(first) == min(pairs, reports * (reports - 1) // 2)
    assert (first < second).all()
    assert first.min() >= 0
    assert second.max() < reports
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(first)


def test_reports_agree_as_far_as_their_findings_do():
    texts = [FINDINGS[0], f"{FINDINGS[0]} {FINDINGS[1]}", FINDINGS[3], "No pneumothorax."]
    found = label_agreement([texts[0], texts[0], texts[0], texts[2]], [texts[0], texts[1], texts[2], texts[3]])
    np.testing.assert_allclose(found, [1, 2 / 3, 0, 1])


def test_similarity_end_to_end():
    evaluator = ClinicalSimilarityEvaluator(of="findings", pairs=150, bootstrap=20)
    predictions = evaluated(evaluator)
    frame = predictions.frame
    assert len(frame) == 150
    assert (frame["image"] != frame["other"]).all()
    found = evaluator.metrics(predictions)["labels"]["labels"]
    assert found["similarity_spearman"] == pytest.approx(spearmanr(frame["cosine"], frame["agreement"])[0])
    assert found["similarity_spearman_low"] <= found["similarity_spearman"] <= found["similarity_spearman_high"]


def test_published_scores_need_their_package():
    with pytest.raises(ConfigError, match=r"radgraph needs the package radeval"):
        ClinicalSimilarityEvaluator(references=["radgraph"])


def test_logistic_regression_is_sklearns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5))
    y = (x[:, 0] + rng.standard_normal(200) > 0).astype(float)
    ours = fit_logistic(x, y, penalty=0.05)(x)
    theirs = LogisticRegression(C=1 / (0.05 * 200), tol=1e-10, max_iter=1000).fit(x, y).decision_function(x)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert not fit_logistic(x, np.ones(200), 0.1)(x).any()


@pytest.mark.parametrize("shots", [None, 2])
def test_probing_end_to_end(shots):
    evaluator = LabelProbeEvaluator(of="findings", shots=shots, bootstrap=10)
    predictions = evaluated(evaluator)
    assert predictions.labels == ("Effusion", "Cardiomegaly")
    assert predictions.frame["split"].value_counts().to_dict() == {"val": 20, "test": 20}
    metrics = evaluator.metrics(predictions)
    assert metrics["mean"]["auroc"] > 0.9
    assert metrics["labels"]["Effusion"]["positives"] == 4


def test_tables_read_every_metric_of_texts():
    predictions = evaluated(TextRetrievalEvaluator(RETRIEVAL))
    for metric in ("recall_at_1", "recall_at_5_diagonal", "mrr_unique"):
        found, count = statistics(predictions, metric, Scoring(), predictions.labels)
        (value,) = found["findings_to_impression"](np.ones((count, 1), dtype=np.float32))
        name, _, policy = metric.partition("_unique") if "unique" in metric else metric.partition("_diagonal")
        policy = "unique" if "unique" in metric else "diagonal" if "diagonal" in metric else "any"
        assert value == pytest.approx(rank_values(predictions.frame, name, policy).mean())
    told = scored_images(predictions, "mrr", Scoring(), predictions.labels)
    assert list(told.columns) == ["dataset", "image", "patient", "label", "text"]


def test_only_some_reports_are_read_where_asked():
    evaluator = TextRetrievalEvaluator(RETRIEVAL, reports=6)
    predictions = evaluated(evaluator)
    assert len(predictions.frame) == 6
    # The same ones whatever else is in the table.
    assert set(evaluated(evaluator, count=60).frame["image"]) == set(predictions.frame["image"])


def test_an_encoder_without_a_direction_is_refused():
    with pytest.raises(RunError, match=r"zero or no number"):
        evaluated(TextRetrievalEvaluator(RETRIEVAL), Encoder(lambda texts: torch.zeros(len(texts), 4)))


def test_images_offer_no_texts():
    network = Network(Encoder(), torch.nn.Identity(), None)
    with pytest.raises(RunError, match=r"needs data of reports alone"):
        TextRetrievalEvaluator(RETRIEVAL).probe({"index": torch.tensor([0])}, None, network, Written().reports())


def test_nothing_to_score():
    tasks = {"notes": {"query": {"of": "notes"}, "document": {"of": "findings"}}}
    with pytest.raises(DataError, match=r"no report of 'made' offers what the evaluation asks for"):
        evaluated(TextRetrievalEvaluator(tasks))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextRetrievalEvaluator({}), "and a task"),
        (lambda: TextRetrievalEvaluator({"a": {"query": {}}}), "expected query and document"),
        (
            lambda: TextRetrievalEvaluator({"a": {"query": {"off": 1}, "document": {}}}),
            "unknown key 'off'; did you mean 'of'",
        ),
        (lambda: TextRetrievalEvaluator(RETRIEVAL, score_split="val"), "which is not among its splits"),
        (lambda: TextRetrievalEvaluator(RETRIEVAL, reports=1), "at least 2 reports"),
        (
            lambda: ErrorDiscriminationEvaluator(of="findings", query={"of": "findings"}),
            "is the section 'findings' itself",
        ),
        (lambda: ErrorDiscriminationEvaluator({"a": ["severty"]}), "unknown report error 'severty'"),
        (lambda: ClinicalSimilarityEvaluator(references=["lables"]), "there is no 'lables'; did you mean 'labels'"),
        (lambda: LabelProbeEvaluator(threshold_split="test"), "three different splits"),
        (lambda: LabelProbeEvaluator(penalties=[]), "positive penalties"),
    ],
)
def test_options_that_cannot_be_right(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

"""Are the stored vectors those that are ranked, and do the numbers about them say what they should?"""

import numpy as np
import pandas as pd
import pytest
from dual_doubles import Towers, evaluated, study_table

from cxrvl.errors import DataError
from cxrvl.evaluation.dual import EmbeddingEvaluator, ImageTextRetrievalEvaluator
from cxrvl.evaluation.embedding_metrics import vectors_of
from cxrvl.evaluation.predictions import Predictions, read_predictions, write_predictions


def test_the_stored_vectors_give_the_ranks(tmp_path):
    table = study_table(90, 2)
    towers = Towers(table, knows=0.5)
    predictions = evaluated(EmbeddingEvaluator(), table, towers)
    path = tmp_path / "vectors.parquet"
    write_predictions(path, predictions)
    frame = read_predictions(path, "embeddings").frame
    pd.testing.assert_frame_equal(frame, predictions.frame)
    images, at = vectors_of(frame, "image")
    reports, said = vectors_of(frame, "report")
    assert at.shape == (60, 32)
    assert said.shape == (30, 32)
    near = at @ said.T
    own = np.array([near[row, reports["study"].tolist().index(study)] for row, study in enumerate(images["study"])])
    ranks = evaluated(ImageTextRetrievalEvaluator({"i": {"query": "image"}}), table, towers).frame
    assert (ranks["image"] == images["image"]).all()
    np.testing.assert_allclose(ranks["own"], own, rtol=1e-5)
    assert (ranks["better"] == (near > own[:, None] + 1e-6).sum(axis=1)).all()


def test_numbers_about_vectors():
    table = study_table(90, 1)
    evaluator = EmbeddingEvaluator(bootstrap=20)
    knowing = evaluator.metrics(evaluated(evaluator, table, Towers(table)))
    assert knowing["own_similarity"] == pytest.approx(1.0)
    assert knowing["gap"] == pytest.approx(0.0, abs=1e-6)
    assert knowing["uniformity"]["image"] == pytest.approx(knowing["uniformity"]["report"], abs=0.02)
    assert knowing["other_similarity"] < 1
    drawn = evaluator.metrics(evaluated(evaluator, table, Towers(table, knows=0.0)))
    assert drawn["own_similarity_low"] <= drawn["own_similarity"] <= drawn["own_similarity_high"] < 0.99
    assert drawn["gap"] > 0.1
    assert (drawn["images"], drawn["reports"], drawn["dimensions"]) == (30, 30, 32)


def test_a_vector_that_is_no_number_is_refused():
    frame = evaluated(EmbeddingEvaluator(), study_table(30, 1)).frame
    broken = frame.assign(**{"v/3": np.float32(np.nan)})
    with pytest.raises(DataError, match=r"v/3 is nan, not a finite number"):
        Predictions.build(broken, kind="embeddings", labels=("image", "report"), folds={"test": 10}, split_name="made")
    with pytest.raises(DataError, match=r"missing columns \['v/3'\]"):
        Predictions.build(
            frame.drop(columns="v/3"),
            kind="embeddings",
            labels=("image", "report"),
            folds={"test": 10},
            split_name="made",
        )

"""Do the evaluations of texts put each instruction before the texts it is meant for, and before no other?"""

import numpy as np
import pytest
import torch
from text_doubles import FINDINGS, IMPRESSIONS, RETRIEVAL, Encoder, Written, evaluated

from cxrvl.data.modules import ReportDataModule
from cxrvl.errors import ConfigError
from cxrvl.evaluation.probing import Network
from cxrvl.evaluation.text import (
    ClinicalSimilarityEvaluator,
    ErrorDiscriminationEvaluator,
    LabelProbeEvaluator,
    TextRetrievalEvaluator,
)


def before(encoder):
    """Instruction -> the texts that were asked for behind it, of those this project's fixtures write."""
    found = {}
    for text in encoder.asked:
        start = min((text.index(one) for one in (*FINDINGS, *IMPRESSIONS) if one in text), default=0)
        found.setdefault(text[:start].strip(), set()).add(text[start:])
    return found


def test_queries_and_documents_have_their_own():
    tasks = {
        **RETRIEVAL,
        "back": {"query": {"of": "impression", "instruction": "Find the findings:"},
                 "document": {"of": "findings", "instruction": ""}},
        "left_out": None,
    }  # fmt: skip
    encoder = Encoder()
    evaluator = TextRetrievalEvaluator(tasks, instruction="Find it:", document_instruction=" Read it: ")
    predictions = evaluated(evaluator, encoder)
    assert predictions.labels == ("findings_to_impression", "back")
    asked = before(encoder)
    assert set(asked) == {"Find it:", "Read it:", "Find the findings:", ""}
    assert asked["Find it:"] == asked[""]
    assert len(asked["Find it:"]) == 20  # the findings, each with its number
    assert asked["Read it:"] == asked["Find the findings:"] == set(IMPRESSIONS)


def test_candidates_have_none_unless_told():
    kinds = {"claims": ["false_prediction", "false_negation"], "left_out": None}
    options = {"of": "findings", "query": {"of": "impression"}, "bootstrap": 5, "instruction": "Find it:"}
    for documents in ("", "Read it:"):
        encoder = Encoder()
        evaluator = ErrorDiscriminationEvaluator(kinds, document_instruction=documents, **options)
        rows = evaluated(evaluator, encoder).frame
        asked = before(encoder)
        assert asked["Find it:"] <= set(IMPRESSIONS)
        assert len([text for text in encoder.asked if not text.startswith("Find it:")]) >= 3 * len(rows)
        assert all(text.startswith(("Find it:", documents)) for text in encoder.asked)


@pytest.mark.parametrize("kind", [ClinicalSimilarityEvaluator, LabelProbeEvaluator])
def test_one_text_a_report_has_one(kind):
    encoder = Encoder()
    evaluated(kind(of="findings", instruction="Read it:", bootstrap=5), encoder)
    assert set(before(encoder)) == {"Read it:"}
    plain = evaluated(kind(of="findings", bootstrap=5)).frame
    assert len(plain) == len(evaluated(kind(of="findings", instruction="Read it:", bootstrap=5)).frame)


def test_evaluators_that_ask_the_same_compute_it_once():
    data = ReportDataModule(Written(), 8, {"default": {"policy": "findings_else_impression"}}, evaluation_batch_size=7)
    evaluators = [
        LabelProbeEvaluator(of="findings"),
        LabelProbeEvaluator(of="findings", shots=1),
        LabelProbeEvaluator(of="findings", instruction="Read it:"),
    ]
    data.predict_splits = evaluators[0].splits
    encoder, parts = Encoder(), [[], [], []]
    for batch in data.predict_dataloader():
        network = Network(encoder, torch.nn.Identity(), None)
        for evaluator, own in zip(evaluators, parts, strict=True):
            own.append(evaluator.probe(batch, None, network, data.table))
    assert len(encoder.asked) == 2 * 60
    np.testing.assert_array_equal(np.stack(parts[0][0]["vector"]), np.stack(parts[1][0]["vector"]))
    assert evaluators[0].collect(parts[0], data.table).frame.shape == (40, 9)


@pytest.mark.parametrize(
    "make",
    [
        lambda given: TextRetrievalEvaluator(RETRIEVAL, instruction=given),
        lambda given: TextRetrievalEvaluator(RETRIEVAL, document_instruction=given),
        lambda given: TextRetrievalEvaluator({"a": {"query": {"instruction": given}, "document": {}}}),
        lambda given: ErrorDiscriminationEvaluator(instruction=given),
        lambda given: ClinicalSimilarityEvaluator(instruction=given),
        lambda given: LabelProbeEvaluator(instruction=given),
    ],
)
def test_what_is_no_text_is_refused(make):
    for given in (3, ["Find it."], {"task": "findings_impression"}):
        with pytest.raises(ConfigError, match=r"instruction is .*; expected a text"):
            make(given)


def test_a_task_is_kept():
    with pytest.raises(ConfigError, match="and a task"):
        TextRetrievalEvaluator({"a": None})
    with pytest.raises(ConfigError, match="one at least that is not null"):
        ErrorDiscriminationEvaluator({"a": None})

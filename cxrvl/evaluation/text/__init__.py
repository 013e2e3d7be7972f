"""What does a text encoder understand of reports? Evaluators any encoder can be put through."""

from cxrvl.evaluation.text.discrimination import ErrorDiscriminationEvaluator
from cxrvl.evaluation.text.probe import LabelProbeEvaluator
from cxrvl.evaluation.text.retrieval import TextRetrievalEvaluator
from cxrvl.evaluation.text.similarity import ClinicalSimilarityEvaluator

__all__ = [
    "ClinicalSimilarityEvaluator", "ErrorDiscriminationEvaluator", "LabelProbeEvaluator", "TextRetrievalEvaluator",
]  # fmt: skip

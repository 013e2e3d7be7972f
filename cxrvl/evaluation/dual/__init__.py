"""How well do the two towers of a model of images and reports understand each other? Evaluators for any such model."""

from cxrvl.evaluation.dual.class_retrieval import ClassRetrievalEvaluator
from cxrvl.evaluation.dual.embeddings import EmbeddingEvaluator
from cxrvl.evaluation.dual.probe import ImageProbeEvaluator
from cxrvl.evaluation.dual.report_scores import ReportScoresEvaluator
from cxrvl.evaluation.dual.retrieval import ImageTextRetrievalEvaluator
from cxrvl.evaluation.dual.zero_shot import ZeroShotEvaluator

__all__ = [
    "ClassRetrievalEvaluator", "EmbeddingEvaluator", "ImageProbeEvaluator", "ImageTextRetrievalEvaluator",
    "ReportScoresEvaluator", "ZeroShotEvaluator",
]  # fmt: skip

"""Which texts should be near each other, and which only look alike? Pairs and hard negatives made from reports."""

from cxrvl.data.triplets.errors import ErrorNegatives
from cxrvl.data.triplets.external import ExternalTriplets
from cxrvl.data.triplets.labels import LabelSentences
from cxrvl.data.triplets.mining import MinedNegatives
from cxrvl.data.triplets.pairs import Rewrites, SectionPairs
from cxrvl.data.triplets.triplet import Triplet, TripletTask

__all__ = [
    "ErrorNegatives", "ExternalTriplets", "LabelSentences", "MinedNegatives", "Rewrites", "SectionPairs", "Triplet",
    "TripletTask",
]  # fmt: skip

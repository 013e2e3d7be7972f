"""What does a report say of each finding: present, absent, uncertain, or nothing? Rules, with their evidence."""

from cxrvl.data.labeler.labeler import Labeler, label_many, strongest
from cxrvl.data.labeler.mentions import Mention
from cxrvl.data.labeler.vocabulary import OBSERVATIONS, to_chestxray14

__all__ = ["OBSERVATIONS", "Labeler", "Mention", "label_many", "strongest", "to_chestxray14"]

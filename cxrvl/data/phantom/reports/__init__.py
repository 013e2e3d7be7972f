"""What does a report of a phantom image say? True sentences in several house styles, from what the generator knows."""

from cxrvl.data.phantom.reports.columns import REPORTS, course_columns, report_columns
from cxrvl.data.phantom.reports.facts import Fact, Study, studies
from cxrvl.data.phantom.reports.grammar import STYLES
from cxrvl.data.phantom.reports.tips import Device
from cxrvl.data.phantom.reports.writer import write

__all__ = [
    "REPORTS",
    "STYLES",
    "Device",
    "Fact",
    "Study",
    "course_columns",
    "report_columns",
    "studies",
    "write",
]

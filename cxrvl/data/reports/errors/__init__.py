"""What would a wrong report say? Nine named, seeded errors that change what a report means, each at one place."""

from cxrvl.data.reports.errors.engine import ERRORS, check_errors, inject

__all__ = ["ERRORS", "check_errors", "inject"]

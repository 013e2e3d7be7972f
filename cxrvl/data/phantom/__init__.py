"""How does the synthetic chest radiograph come about? Anatomy, findings, detector; see DESIGN.md section 6."""

from cxrvl.data.phantom.cohort import ASYMMETRY_FINDINGS, FINDINGS, Cohort, CohortOptions
from cxrvl.data.phantom.render import GENERATOR_VERSION, Phantom

__all__ = ["ASYMMETRY_FINDINGS", "FINDINGS", "GENERATOR_VERSION", "Cohort", "CohortOptions", "Phantom"]

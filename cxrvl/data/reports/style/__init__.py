"""How does the same report read in another house? Named, seeded rewritings that keep its meaning."""

from cxrvl.data.reports.style.engine import IMPRESSION_ONLY, STYLES, apply, check_styles, style_generator

__all__ = ["IMPRESSION_ONLY", "STYLES", "apply", "check_styles", "style_generator"]

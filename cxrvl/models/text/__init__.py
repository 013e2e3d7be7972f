"""How does a text become a vector? Decoder language models read both ways, encoders of the BERT type beside them."""

from cxrvl.models.text.encoder import TextEncoder
from cxrvl.models.text.tokens import ReportTokenizer, Tokens

__all__ = ["ReportTokenizer", "TextEncoder", "Tokens"]

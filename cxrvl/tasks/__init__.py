"""The LightningModules: one per line of work, each writing a single step."""

from cxrvl.tasks.base import StepOutput, Task
from cxrvl.tasks.classification import Classification
from cxrvl.tasks.contrastive_text import ContrastiveText
from cxrvl.tasks.masked_text import MaskedText

__all__ = ["Classification", "ContrastiveText", "MaskedText", "StepOutput", "Task"]

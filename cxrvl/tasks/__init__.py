"""The LightningModules: one per line of work, each writing a single step."""

from cxrvl.tasks.base import StepOutput, Task
from cxrvl.tasks.classification import Classification
from cxrvl.tasks.contrastive_text import ContrastiveText
from cxrvl.tasks.dual_tower import ImageTextContrast
from cxrvl.tasks.masked_text import MaskedText
from cxrvl.tasks.self_training import SelfTraining

__all__ = ["Classification", "ContrastiveText", "ImageTextContrast", "MaskedText", "SelfTraining", "StepOutput", "Task"]

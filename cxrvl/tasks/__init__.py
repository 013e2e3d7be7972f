"""The LightningModules: one per line of work, each writing a single step."""

from cxrvl.tasks.base import StepOutput, Task
from cxrvl.tasks.classification import Classification

__all__ = ["Classification", "StepOutput", "Task"]

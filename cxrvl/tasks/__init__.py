"""The LightningModules: one per line of work, each writing a single step."""

from cxrvl.tasks.base import StepOutput, Task
from cxrvl.tasks.classification import Classification
from cxrvl.tasks.self_training import SelfTraining

__all__ = ["Classification", "SelfTraining", "StepOutput", "Task"]

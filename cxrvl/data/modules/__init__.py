"""The LightningDataModule hierarchy: what a task's batches hold, from which source, in which order."""

from cxrvl.data.modules.base import CXRDataModule
from cxrvl.data.modules.classification import ClassificationDataModule

__all__ = ["CXRDataModule", "ClassificationDataModule"]

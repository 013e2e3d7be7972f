"""The LightningDataModule hierarchy: what a task's batches hold, from which source, in which order."""

from cxrvl.data.modules.base import CXRDataModule
from cxrvl.data.modules.classification import ClassificationDataModule
from cxrvl.data.modules.image import ImageDataModule
from cxrvl.data.modules.image_report import ImageReportDataModule
from cxrvl.data.modules.report import ReportDataModule
from cxrvl.data.modules.self_training import SelfTrainingDataModule
from cxrvl.data.modules.triplet import TripletDataModule

__all__ = [
    "CXRDataModule",
    "ClassificationDataModule",
    "ImageDataModule",
    "ImageReportDataModule",
    "ReportDataModule",
    "SelfTrainingDataModule",
    "TripletDataModule",
]

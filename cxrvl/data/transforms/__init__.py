"""How do stored pixels become model input? Batched transforms on tensors, with randomness that is a pure hash."""

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import CenterCrop, RandomHorizontalFlip, Resize
from cxrvl.data.transforms.intensity import ColorJitter, GaussianBlur, GaussianNoise, RandomGamma
from cxrvl.data.transforms.pil_blur import RandomGaussianBlur
from cxrvl.data.transforms.pil_views import PilViewSet
from cxrvl.data.transforms.pipeline import Pipeline, Transform, to_float
from cxrvl.data.transforms.tone import RandomAutocontrast, RandomEqualize
from cxrvl.data.transforms.views import View, ViewSet, crop_view
from cxrvl.data.transforms.warps import RandomAffine, RandomResizedCrop, RandomRotation

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Draw",
    "GaussianBlur",
    "GaussianNoise",
    "PilViewSet",
    "Pipeline",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomGamma",
    "RandomGaussianBlur",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "Resize",
    "Transform",
    "View",
    "ViewSet",
    "crop_view",
    "to_float",
]

"""How do stored pixels become model input? Batched transforms on tensors, with randomness that is a pure hash."""

from cxrvl.data.random import Draw
from cxrvl.data.transforms.geometry import CenterCrop, RandomHorizontalFlip, Resize
from cxrvl.data.transforms.intensity import ColorJitter, GaussianBlur, GaussianNoise, RandomGamma
from cxrvl.data.transforms.pipeline import Pipeline, Transform, to_float
from cxrvl.data.transforms.warps import RandomAffine, RandomResizedCrop

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Draw",
    "GaussianBlur",
    "GaussianNoise",
    "Pipeline",
    "RandomAffine",
    "RandomGamma",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "Transform",
    "to_float",
]

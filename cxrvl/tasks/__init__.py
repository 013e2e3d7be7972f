"""The LightningModules: one per line of work, each writing a single step.

Each is imported when it is first named, and brings the libraries of its own line alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxrvl.tasks.base import StepOutput, Task
    from cxrvl.tasks.classification import Classification
    from cxrvl.tasks.contrastive_text import ContrastiveText
    from cxrvl.tasks.dual_tower import ImageTextContrast
    from cxrvl.tasks.masked_text import MaskedText
    from cxrvl.tasks.self_training import SelfTraining

__all__ = ["Classification", "ContrastiveText", "ImageTextContrast", "MaskedText", "SelfTraining", "StepOutput", "Task"]

_MODULES = {
    "Classification": "classification",
    "ContrastiveText": "contrastive_text",
    "ImageTextContrast": "dual_tower",
    "MaskedText": "masked_text",
    "SelfTraining": "self_training",
    "StepOutput": "base",
    "Task": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

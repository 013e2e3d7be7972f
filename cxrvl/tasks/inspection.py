"""What is kept of a step whose loss is no number, so that somebody can see why?"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxrvl.errors import RunError
from cxrvl.files import write_atomic

FILE = "not_finite.pt"


def stop_if_not_finite(loss: Tensor, terms: dict[str, Tensor], batch: dict[str, Any], folder: Path, where: str) -> None:
    """Save the batch and stop, before the optimiser takes a step that would spoil the weights.

    What is saved: pixels, targets and study-table rows of the step, and its loss terms; no text and no patient's name.
    It is read with `torch.load(path, weights_only=True)`.

    Raises:
        RunError: the loss is NaN or infinite.
    """
    if bool(loss.detach().isfinite().all()):
        return
    values = {name: value.detach().cpu() for name, value in terms.items()}
    content = {"where": where, "loss": loss.detach().cpu(), "terms": values, "batch": _tensors(batch)}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / FILE, lambda file: torch.save(content, file))
    bad = [name for name, value in values.items() if not bool(value.isfinite().all())]
    raise RunError(
        f"the loss is {float(loss)} in {where} ({', '.join(bad) or 'only the sum'}); its batch was saved in {folder / FILE}. "
        "Lower the learning rate, clip gradients, or use another trainer.precision; then remove the run, or let it "
        "continue from its resume point"
    )


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tensors(part) for name, part in value.items() if isinstance(part, dict | Tensor)}
    return value.detach().cpu()

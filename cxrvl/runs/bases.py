"""Which language models did a run stand on? Their hashes, and their commits where they come from a hub."""

from typing import Any

from torch import nn

from cxrvl.files import read_json, write_json
from cxrvl.models.text.body import Body
from cxrvl.runs.store import Run


def bases_of(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return, by its place in a model, `sha256` of every language model's weights as they were read, and `commit` or None."""
    return {
        name: {"sha256": bytes(module.fingerprint.tolist()).hex(), "commit": module.commit}
        for name, module in model.named_modules()
        if isinstance(module, Body)
    }


def record_bases(run: Run, model: nn.Module) -> None:
    """Add to a run's environment.json, under `bases`, which language models it stands on; nothing where it has none."""
    found = bases_of(model)
    if found:
        path = run.folder / "environment.json"
        write_json(path, {**read_json(path), "bases": found})

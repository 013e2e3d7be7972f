"""What do the parity files hold, and how are results compared with them?"""

import json
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "parity"


def cases(family: str) -> list[Any]:
    """All cases of a family in the parity folder's index; one that skips where the folder is absent."""
    if not (FOLDER / "index.json").is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the parity folder is not beside this repository"))]
    index = json.loads((FOLDER / "index.json").read_text())
    return [pytest.param(case, id=case["case"]) for case in index["cases"] if case["family"] == family]


class Case:
    """Tensors of one case and the comparison of results with them, each within its own tolerance."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.config, self.described = description["config"], description["tensors"]
        self.tensors = load_file(FOLDER / description["file"])
        self.compared: set[str] = set()

    def weights(self) -> dict[str, Tensor]:
        return {name.removeprefix("w/"): value for name, value in self.tensors.items() if name.startswith("w/")}

    def expect(self, name: str, value: Tensor | None) -> None:
        """Compare, if the case has it, with the official tensor; a stored value without a tolerance is met exactly."""
        if name not in self.described:
            return
        assert value is not None, f"{name} does not exist"
        expected = self.tensors[name]
        difference = (value.detach().reshape(expected.shape) - expected).abs().max().item()
        assert difference <= self.described[name].get("suggested_atol", 0.0), f"{name}: differs by {difference}"
        self.compared.add(name)

    def finish(self) -> None:
        """Nothing the case holds may be left uncompared."""
        left = {name for name in self.described if name.startswith(("out/", "grad/"))} - self.compared
        assert not left, f"not compared: {sorted(left)}"


def fill(key: str, shape: list[int], dtype: str) -> Tensor:
    """The fill rule of the parity README."""
    if dtype.startswith("int"):
        return torch.zeros(shape, dtype=getattr(torch, dtype))
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(int(np.prod(shape)) if shape else 1)
    last = key.rsplit(".", 1)[-1]
    if last == "running_mean":
        z = 0.1 * z
    elif last == "running_var":
        z = 0.75 + 0.25 * z**2
    elif last in ("pos_embed", "cls_token"):
        z = 0.5 * z
    elif len(shape) == 1 and last == "weight":
        z = 1 + 0.1 * z
    elif len(shape) <= 1:
        z = 0.1 * z
    else:
        gain = 16 if ".map_gen." in key else 4 if ".feature_gen." in key else 1
        z = z * np.sqrt(gain / np.prod(shape[1:]))
    return torch.from_numpy(z.reshape(shape).astype(np.float32))


def filled_state(description: dict[str, Any]) -> dict[str, Tensor]:
    (table,) = [name for name in description["other_files"] if name.endswith(".fill.json")]
    entries = json.loads((FOLDER / table).read_text())["entries"]
    state = {key: fill(key, entry["shape"], entry["dtype"]) for key, entry in entries.items()}
    digest = sha256()
    for key in sorted(state):
        digest.update(key.encode() + b"\0" + state[key].numpy().tobytes())
    assert digest.hexdigest() == description["state_dict_sha256"]
    return state

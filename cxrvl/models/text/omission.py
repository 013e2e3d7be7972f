"""How are frozen weights left out of a checkpoint, and how do they come back?"""

import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxrvl.errors import WeightsError
from cxrvl.models.later_keys import LORA_SCALE

REFERENCE = "fingerprint"


def omit_frozen(module: nn.Module, fingerprint: str, scale: float | None = None) -> None:
    """Keep the parameters of a module that never learn out of its state dict; a hash of where they come from stays.

    On loading, what is left out is taken as it is in the module: it was read from the same base, which the hash proves.

    Args:
        module: its parameters' `requires_grad` is final.
        fingerprint: SHA-256 hex of the base.
        scale: by which adapters in it multiply their update; None = it has none.

    Raises:
        WeightsError: (on loading) the weights stand on another base, or are adapters of another scale.
    """
    module.register_buffer(REFERENCE, torch.tensor(list(bytes.fromhex(fingerprint)), dtype=torch.uint8))
    if scale is not None:  # as bytes, so that no change of precision rounds it
        module.register_buffer(LORA_SCALE, torch.tensor(list(struct.pack("<d", scale)), dtype=torch.uint8))
    frozen = {
        name for name, parameter in module.named_parameters(remove_duplicate=False) if not parameter.requires_grad
    }

    def leave_out(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
        for name in frozen:
            state.pop(f"{prefix}{name}", None)

    def put_back(own: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        given = state.get(f"{prefix}{REFERENCE}")
        if frozen and given is not None:
            check_base(given, own)
        if scale is not None:
            check_scale(state.setdefault(f"{prefix}{LORA_SCALE}", own.get_buffer(LORA_SCALE)), scale)
        parameters: Mapping[str, Tensor] = dict(own.named_parameters(remove_duplicate=False))
        for name in frozen:
            state.setdefault(f"{prefix}{name}", parameters[name].detach())

    module.register_state_dict_post_hook(leave_out)
    module.register_load_state_dict_pre_hook(put_back)


def check_base(given: Tensor, own: nn.Module) -> None:
    """Refuse adapters that were trained on other frozen weights than those in the module."""
    expected = bytes(own.get_buffer(REFERENCE).tolist()).hex()
    found = bytes(given.tolist()).hex()
    if found != expected:
        raise WeightsError(
            f"these weights were trained on the base with SHA-256 {found[:12]}..., but model.base is {expected[:12]}...; "
            "set model.base to the one they were trained on"
        )


def check_scale(given: Tensor, expected: float) -> None:
    """Refuse adapters that learnt at another scale: their update would be multiplied by another number."""
    found = float(struct.unpack("<d", bytes(given.tolist()))[0])
    if found != expected:
        raise WeightsError(
            f"these adapters were trained with alpha / rank = {found:g}, but model.lora makes it {expected:g}, by which "
            f"their update would be {expected / found:g} times as large; set model.lora.alpha to {found:g} times "
            "model.lora.rank"
        )

"""How does one generation hand its optimiser's moments over to the next? As weights of a part that `init_from` names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from cxrvl.errors import ConfigError

KEYS = ("step", "exp_avg", "exp_avg_sq")


class OptimizerMemory(nn.Module):
    """A copy of Adam's state, in the state dict under `<key>.<parameter>`, and nowhere else: no buffer to be broadcast.

    Args:
        model: whose parameters are optimised; one that is frozen, or has not moved yet, has zeros, so that a generation that
            trains other parameters than the one before can take them.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            self.kept[f"step.{name}"] = torch.zeros(())
            for key in KEYS[1:]:
                self.kept[f"{key}.{name}"] = torch.zeros_like(parameter, requires_grad=False)

    def take(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Remember the state of an optimiser; one it has not moved keeps what it was given, or zeros."""
        for name, parameter in model.named_parameters():
            for key in KEYS:
                if parameter in optimizer.state:
                    value = optimizer.state[parameter][key].detach()
                    self.kept[f"{key}.{name}"] = value.to("cpu", copy=True)

    def give(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Begin with the remembered state, where there is one.

        Raises:
            ConfigError: an optimiser with another state.
        """
        if not isinstance(optimizer, Adam):
            raise ConfigError(
                f"task.keep_optimizer hands over the moments of Adam and AdamW, not of {type(optimizer).__name__}; "
                "choose one of them, or keep_optimizer=false"
            )
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and bool(self.kept[f"step.{name}"] > 0):
                state = {key: self.kept[f"{key}.{name}"].clone() for key in KEYS}
                moments = {key: state[key].to(parameter) for key in KEYS[1:]}
                optimizer.state[parameter] = {"step": state["step"], **moments}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in self.kept.items():
            destination[prefix + name] = value

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for name, value in self.kept.items():
            given = state_dict.get(prefix + name)
            if given is None:
                missing_keys.append(prefix + name)
            elif given.shape != value.shape:
                error_msgs.append(f"{prefix}{name}: {tuple(given.shape)} instead of {tuple(value.shape)}")
            else:
                self.kept[name] = given.detach().clone()
        here = {prefix + name for name in self.kept}
        unexpected_keys += [key for key in state_dict if key.startswith(prefix) and key not in here]

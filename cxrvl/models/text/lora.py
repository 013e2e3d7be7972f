"""How do a few trainable low-rank matrices get into a frozen language model?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

ADAPTER = "report"
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation through peft.

    rank: of the update. alpha: it is scaled by alpha / rank, positive. dropout: of its input.
    targets: last parts of the names of linear layers, such as q_proj; or all-linear.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: Sequence[str] | str = ALL_LINEAR

    def into(self, network: nn.Module) -> nn.Module:
        """Return the network with adapters; everything else in it is frozen.

        Raises:
            ConfigError: a target that is no name or that no linear layer matches, naming those there are; a rank below 1,
                or an alpha that is not positive.
        """
        from peft import LoraConfig, get_peft_model

        self._check()
        linear = {name.rpartition(".")[2] for name, module in network.named_modules() if isinstance(module, nn.Linear)}
        targets = [self.targets] if isinstance(self.targets, str) and self.targets != ALL_LINEAR else self.targets
        for target in () if targets == ALL_LINEAR else targets:
            if target not in linear:
                raise ConfigError(
                    f"model.lora.targets: no linear layer is named '{target}'{did_you_mean(target, linear)}; name one of "
                    "the language model's, or all-linear"
                )
        options = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, bias="none",
            target_modules=targets if targets == ALL_LINEAR else list(targets),
        )  # fmt: skip
        return get_peft_model(network, options, adapter_name=ADAPTER)

    @property
    def scale(self) -> float:
        """What the update is multiplied by."""
        return self.alpha / self.rank

    def _check(self) -> None:
        named = [self.targets] if isinstance(self.targets, str) else self.targets
        if not isinstance(named, Sequence) or not all(isinstance(target, str) for target in named):
            raise ConfigError(
                f"model.lora.targets is {self.targets!r}; expected names of linear layers, such as [q_proj, v_proj], or "
                f"{ALL_LINEAR}"
            )
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1 or not named:
            raise ConfigError(
                f"model.lora: rank={self.rank}, alpha={self.alpha}, dropout={self.dropout}, targets={self.targets}; "
                "expected a rank of at least 1, an alpha above 0, a dropout of at least 0 and below 1, and at least one "
                "target"
            )


def adapters(lora: Lora | Mapping[str, Any] | None) -> Lora | None:
    """Return what a config says of adapters; None or empty, as the option `model/lora=none` has it, is none.

    Raises:
        ConfigError: settings of adapters that no option has chosen.
    """
    if isinstance(lora, Lora):
        return lora
    if lora:
        raise ConfigError(
            f"model.lora is {dict(lora)}, which makes no adapters without model/lora; set model/lora=default (or "
            "model/lora=attention), and change its keys: model.lora.rank=8"
        )
    return None

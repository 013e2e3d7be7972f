"""How do a few trainable low-rank matrices get into a frozen language model?"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

ADAPTER = "report"
ALL_LINEAR = "all-linear"
_SHOWN = 12


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation through peft.

    rank: of the update. alpha: it is scaled by alpha / rank. dropout: of its input.
    targets: last parts of the names of linear layers, such as q_proj; or all-linear.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: Sequence[str] | str = ALL_LINEAR

    def into(self, network: nn.Module) -> nn.Module:
        """Return the network with adapters; everything else in it is frozen.

        Raises:
            ConfigError: a target that no linear layer matches, naming those there are; or a rank below 1.
        """
        from peft import LoraConfig, get_peft_model

        linear = {name.rpartition(".")[2] for name, module in network.named_modules() if isinstance(module, nn.Linear)}
        targets = [self.targets] if isinstance(self.targets, str) and self.targets != ALL_LINEAR else self.targets
        for target in () if targets == ALL_LINEAR else targets:
            if target not in linear:
                raise ConfigError(
                    f"model.lora.targets: no linear layer is named '{target}'{did_you_mean(target, linear)}; "
                    f"there are {', '.join(sorted(linear)[:_SHOWN])}"
                )
        if self.rank < 1 or not 0 <= self.dropout < 1 or not targets:
            raise ConfigError(
                f"model.lora: rank={self.rank}, dropout={self.dropout}, targets={self.targets}; expected a rank of at "
                "least 1, a dropout of at least 0 and below 1, and at least one target"
            )
        options = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, bias="none",
            target_modules=targets if targets == ALL_LINEAR else list(targets),
        )  # fmt: skip
        return get_peft_model(network, options, adapter_name=ADAPTER)

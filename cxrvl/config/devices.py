"""How many processes does a trainer's config ask for?"""

from collections.abc import Mapping
from typing import Any

from cxrvl.errors import ConfigError

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp")
"""How processes share a training; Lightning's spawning ones are left out: they run the command again."""


def device_count(devices: Any) -> int:
    """Return how many devices `trainer.devices` asks for on each node; 0 = all there are."""
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    return max(0, int(text)) if text.lstrip("-").isdigit() else 0


def check_shares(config: Mapping[str, Any]) -> None:
    """Refuse a global batch that the devices cannot share evenly, as far as the config alone tells their number.

    Raises:
        ConfigError: as said, or an unknown strategy.
    """
    trainer, data = config["trainer"], config["data"]
    if trainer["strategy"] not in STRATEGIES:
        raise ConfigError(f"trainer.strategy is {trainer['strategy']!r}; expected one of {', '.join(STRATEGIES)}")
    if trainer["num_nodes"] < 1 or str(trainer["devices"]) in ("0", "[]"):
        raise ConfigError(
            f"trainer.devices={trainer['devices']} on trainer.num_nodes={trainer['num_nodes']}; expected at least one each"
        )
    devices = max(1, device_count(trainer["devices"]))
    batch = data.get("batch_size")
    if isinstance(batch, int):
        check_cut(batch, devices * trainer["num_nodes"], trainer["accumulate_grad_batches"])


def check_cut(batch_size: int, world: int, accumulate: int) -> None:
    """Refuse a global batch that cannot be cut evenly.

    Raises:
        ConfigError: as said.
    """
    if batch_size < 1 or batch_size % (world * accumulate):
        raise ConfigError(
            f"data.batch_size={batch_size} is the global batch; it cannot be cut evenly into {world} device(s) x "
            f"{accumulate} accumulated part(s). Choose devices and trainer.accumulate_grad_batches that divide it"
        )

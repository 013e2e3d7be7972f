"""How fast does each part of a network learn? Rates by tower, and by depth within it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError

KEYS = ("lr", "weight_decay", "layer_decay")
_BLOCK = re.compile(r"(?:^|\.)(?:blocks?|resblocks|layers?|stages|features|denseblock|h)\.?(\d+)(?=\.)")
"""What timm, open_clip, transformers and torchvision call their blocks, up to the number."""
_LAST = ("proj", "text_projection")
"""Matrices that open_clip applies behind the last block, and declares before the first."""
_TABLES = ("cls_token", "pos_embed", "reg_token", "positional_embedding", "class_embedding", "cls_emb")
"""Learnt tokens and positions: no matrices, though they have several axes."""


def parameter_groups(
    model: nn.Module,
    groups: Mapping[str, Mapping[str, float]],
    parts: Mapping[str, tuple[str, ...]],
    lr: float | None,
    weight_decay: float | None,
) -> list[dict[str, Any]]:
    """Return the trainable parameters of a model in groups of one rate and one decay.

    Norms, biases, scalars and learnt tokens are not decayed.

    Args:
        groups: part -> {lr, weight_decay, layer_decay}; what is not said is as for the rest.
        parts: the parts there are -> prefixes of their parameters' names.
        lr, weight_decay: of what no group names; None = the optimiser's own.

    Raises:
        ConfigError: an unknown part or key, a layer decay outside (0, 1], or one without a rate to lower or without
            blocks to count.
    """
    for part, options in groups.items():
        if part not in parts:
            raise ConfigError(f"task.groups names '{part}'{did_you_mean(part, parts)}; expected {', '.join(parts)}")
        for key, value in options.items():
            if key not in KEYS:
                raise ConfigError(f"task.groups.{part}.{key} is no key{did_you_mean(key, KEYS)}; expected {KEYS}")
            if value < 0 or (key == "layer_decay" and not 0 < value <= 1):
                raise ConfigError(f"task.groups.{part}.{key}={value}; expected at least 0, and a layer decay in (0, 1]")
    names = [name for name, _ in model.named_parameters()]
    depths = {part: depths_of([name for name in names if name.startswith(parts[part])]) for part in groups}
    sorted_out: dict[tuple[float | None, float | None], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        of = next((part for part in groups if name.startswith(parts[part])), None)
        options = groups[of] if of is not None else {}
        rate, decay = options.get("lr", lr), options.get("weight_decay", weight_decay)
        if of is not None and options.get("layer_decay", 1.0) != 1.0:
            if rate is None:
                raise ConfigError(f"task.groups.{of}.layer_decay lowers a rate; set task.groups.{of}.lr")
            depth, deepest = depths[of][name]
            if deepest == 1:
                raise ConfigError(
                    f"task.groups.{of}.layer_decay={options['layer_decay']} would do nothing: no numbered blocks are "
                    f"found among the parameters of this {of}, such as {name}; leave layer_decay out"
                )
            rate *= options["layer_decay"] ** (deepest - depth)
        if parameter.ndim < 2 or name.rpartition(".")[2] in _TABLES:
            decay = 0.0
        sorted_out.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, **{key: value for key, value in (("lr", rate), ("weight_decay", decay)) if value is not None}}
        for (rate, decay), parameters in sorted_out.items()
    ]  # fmt: skip


def depths_of(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return parameter -> (depth, deepest) of one tower: 0 before the first block, then 1 per block, and after the last.

    A block is what the number after `blocks`, `layers`, `layer`, `stages` counts, the outermost such number: a stage of
    a CNN, a layer of a transformer. What stands outside goes by where it is declared: before the first block, with the
    one before it, or behind the last; open_clip's closing projections are behind it wherever they are declared.
    """
    numbers = [_BLOCK.search(name) for name in names]
    counted = sorted({int(found[1]) for found in numbers if found is not None})
    place = {number: 1 + index for index, number in enumerate(counted)}
    deepest = len(counted) + 1
    end = max((row for row, found in enumerate(numbers) if found is not None), default=-1)
    depth, depths = 0, {}
    for row, (name, found) in enumerate(zip(names, numbers, strict=True)):
        depth = place[int(found[1])] if found is not None else deepest if row > end else depth
        depths[name] = (deepest if found is None and name.rpartition(".")[2] in _LAST else depth, deepest)
    return depths

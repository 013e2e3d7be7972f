"""Which published weights can a run start from by name? An allow-list; what reads each of them is imported on use."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrvl.config.nearest import did_you_mean
from cxrvl.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Published:
    """Weights someone published.

    Attributes:
        importer: module of cxrvl.interop; its `read(name, record)` returns one state dict per part, keys as inside it.
        revision: names the weights' content; part of the identity of every run that starts from them.
        network: what the importer needs to know of the network, such as its name in the library it comes from.
        parts: what they offer.
        stems: part -> key of its convolution over RGB, which is summed over its channels for a grey network.
    """

    importer: str
    revision: str
    network: str
    parts: tuple[str, ...]
    stems: dict[str, str]


def _torchvision(network: str, stem: str, revision: str) -> Published:
    """Return ImageNet weights of torchvision; the revision is the hash in the file's name, checked by the download."""
    return Published("torchvision_hub", revision, network, ("encoder",), {"encoder": stem})


PUBLISHED = {
    "efficientnet-lite0": Published(
        "lite0", "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "tf_efficientnet_lite0",
        ("encoder",), {"encoder": "network.conv_stem.weight"},
    ),
    "resnet18/IMAGENET1K_V1": _torchvision("resnet18", "conv1.weight", "f37072fd"),
    "resnet34/IMAGENET1K_V1": _torchvision("resnet34", "conv1.weight", "b627a593"),
    "resnet50/IMAGENET1K_V1": _torchvision("resnet50", "conv1.weight", "0676ba61"),
    "resnet50/IMAGENET1K_V2": _torchvision("resnet50", "conv1.weight", "11ad3fa6"),
    "resnet101/IMAGENET1K_V1": _torchvision("resnet101", "conv1.weight", "63fe2227"),
    "resnet101/IMAGENET1K_V2": _torchvision("resnet101", "conv1.weight", "cd907fc2"),
    "densenet121/IMAGENET1K_V1": _torchvision("densenet121", "features.conv0.weight", "a639ec97"),
}  # fmt: skip
"""Name in `init_from.published` -> what it is."""


def published(name: str) -> Published:
    """Return the record of published weights.

    Raises:
        WeightsError: no such name, with the nearest one.
    """
    if name not in PUBLISHED:
        raise WeightsError(f"init_from.published: there are no weights '{name}'{did_you_mean(name, PUBLISHED)}")
    return PUBLISHED[name]


def read_published(name: str) -> "dict[str, dict[str, Tensor]]":
    """Return published weights as one state dict per part, keys as inside that part.

    Raises:
        WeightsError: no such name, or the weights cannot be had, or are not those of the revision.
    """
    record = published(name)
    module = importlib.import_module(f"cxrvl.interop.{record.importer}")
    states: dict[str, dict[str, Tensor]] = module.read(name, record)
    return states

"""How do torchvision's ImageNet weights become the encoder of a classifier?"""

from torch import Tensor

from cxrvl.interop.published import Published
from cxrvl.models.densenet import DenseNet121
from cxrvl.models.resnet import ResNet


def read(name: str, record: Published) -> dict[str, dict[str, Tensor]]:
    """Return the encoder; downloaded once into torch.hub's folder, its hash checked there.

    Raises:
        WeightsError: no network, naming what to do.
    """
    weights = name.rpartition("/")[2]
    if record.network == "densenet121":
        return {"encoder": DenseNet121(weights=weights).state_dict()}
    return {"encoder": ResNet(int(record.network.removeprefix("resnet")), weights=weights).state_dict()}

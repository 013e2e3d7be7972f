"""What does the CLS token of a vision transformer attend to, head by head?"""

import torch
from torch import Tensor, nn

from cxrvl.models.image_encoder import ImageEncoder
from cxrvl.models.vit import Vit


def transformer_of(model: nn.Module) -> ImageEncoder | None:
    """The first image encoder inside a model (or the model itself) whose backbone is a vision transformer."""
    for module in model.modules():
        if isinstance(module, ImageEncoder) and isinstance(module.backbone, Vit):
            return module
    return None


def cls_attention(encoder: ImageEncoder, images: Tensor) -> Tensor:
    """Attention of the CLS token to the patches in the last block, without gradient.

    Args:
        encoder: has a vision transformer as backbone.
        images: (B, 1, H, W) float32 in [0, 1], sides multiples of the patch.

    Returns:
        (B, heads, h, w) float32, each map normalised to a sum of 1: what CLS gives itself and registers is left out.
    """
    height, width = (side // patch for side, patch in zip(images.shape[-2:], encoder.backbone.patch_size, strict=True))
    with torch.no_grad():
        attention = encoder.attention(images)[:, :, 0]
    patches = attention[..., attention.shape[-1] - height * width :].float()
    return (patches / patches.sum(dim=-1, keepdim=True)).unflatten(-1, (height, width))

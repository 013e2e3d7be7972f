"""How are the networks of the DISTL parity cases built from what a case says of them?"""

from functools import partial
from typing import Any

from cxrvl.models.build import self_training
from cxrvl.models.distl_heads import ClassHead, FeatureHead
from cxrvl.models.self_training import SelfTrainingNetwork
from cxrvl.models.vit import Vit


def build_vit(config: dict[str, Any], **options: Any) -> Vit:
    """The released network; positions tables are square or given by both sides."""
    grid, patch = config["pos_embed_grid"], config["patch_size"]
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    return Vit(
        "vit_small_patch8_224",
        image_size=(rows * patch, columns * patch),
        patch_size=patch,
        positions="released",
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        mlp_ratio=config.get("mlp_ratio", 4),
        options={"qkv_bias": config.get("qkv_bias", True)},
        **options,
    )


def build_network(config: dict[str, Any], num_labels: int) -> SelfTrainingNetwork:
    return self_training(
        partial(build_vit, config),
        partial(ClassHead, hidden=config["class_hidden"]),
        num_labels,
        partial(
            FeatureHead,
            hidden=config["head_hidden"],
            bottleneck=config["head_bottleneck"],
            prototypes=config["K"],
            batch_norm=config.get("use_bn_in_head", False),
        ),
    ).eval()

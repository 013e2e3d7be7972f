"""How does a vision transformer turn an image of any size into its CLS embedding?"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from cxrvl.errors import ConfigError, DataError
from cxrvl.models.vit_weights import load_vit

Positions = Literal["interpolated", "released"]
_RULES = ("interpolated", "released")
_OFFSET = 0.1


class Vit(nn.Module):
    """A timm vision transformer whose position table is resampled to each image's grid of patches.

    name: a timm model of class VisionTransformer, with or without the tag of its weights, such as
    vit_small_patch8_224.dino. image_size: pixels, or (height, width), that the position table is built for; None takes
    the name's own, as published weights need. patch_size: None takes the name's own.
    drop_path: rate of the last block, linear over the depth from 0 (distl.md section 1.1).
    positions: "interpolated" as timm does, bicubic with antialias to the exact grid; "released" as DINO and DISTL do,
    bicubic without antialias, by the scale (n + 0.1) / grid, which moves the sampling points a little.
    weights: None; "timm" for timm's published weights of that name (needs its hub); or a local .safetensors or .pth file
    of timm, DINO or DINOv2, to the last key.
    embed_dim, depth, num_heads, mlp_ratio: None takes the name's own; options: further arguments of timm's class, such as
    reg_tokens.
    Images (B, in_channels, H, W), both sides multiples of the patch, become (B, num_features). mean and std are 0 and 1:
    the paper feeds images in [0, 1] as they are; weights of other origin may want ImageNet's, which the config says.
    Raises ConfigError or WeightsError.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __init__(
        self,
        name: str = "vit_small_patch8_224",
        image_size: int | Sequence[int] | None = None,
        patch_size: int | None = None,
        drop_path: float = 0.0,
        in_channels: int = 3,
        weights: str | None = None,
        positions: Positions = "interpolated",
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if positions not in _RULES:
            raise ConfigError(f"Vit: positions={positions!r} is unknown; expected one of {', '.join(_RULES)}")
        size = tuple(image_size) if isinstance(image_size, Sequence) else image_size
        chosen = {
            "img_size": size, "patch_size": patch_size, "embed_dim": embed_dim, "depth": depth, "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
        }  # fmt: skip
        arguments = {key: value for key, value in chosen.items() if value is not None} | dict(options or {})
        self.name, self.in_channels, self.positions_rule = name, in_channels, positions
        self.network = _build(name, in_chans=in_channels, drop_path_rate=drop_path, **arguments)
        self.num_features = int(self.network.num_features)
        self.patch_size: tuple[int, int] = self.network.patch_embed.patch_size
        if weights is not None:
            load_vit(self.network, weights, name, in_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the CLS embedding after the final norm (B, num_features) of images (B, in_channels, H, W)."""
        return self.tokens(images)[:, 0]

    def tokens(self, images: Tensor) -> Tensor:
        """Return all tokens after the final norm, (B, prefix + h*w, num_features): CLS, registers if any, patches.

        Raises:
            DataError: sides that the patch does not divide.
        """
        if any(side % patch for side, patch in zip(images.shape[-2:], self.patch_size, strict=True)):
            raise DataError(
                f"Vit: images of {images.shape[-2]} x {images.shape[-1]} px; expected multiples of the patch, "
                f"{self.patch_size[0]} x {self.patch_size[1]} px: set the sizes of the views, or model's patch_size"
            )
        network = self.network
        patches: Tensor = network.patch_embed(images)  # (B, h, w, D)
        positions = self.positions(patches.shape[1], patches.shape[2])
        x = patches.flatten(1, 2)
        prefix = [token.expand(len(x), -1, -1) for token in (network.cls_token, network.reg_token) if token is not None]
        x = torch.cat([*prefix, x + positions], 1) if network.no_embed_class else torch.cat([*prefix, x], 1) + positions
        x = network.norm_pre(network.patch_drop(network.pos_drop(x)))
        tokens: Tensor = network.norm(network.blocks(x))
        return tokens

    def positions(self, height: int, width: int) -> Tensor:
        """Return what is added to the tokens of a grid of height x width patches: (1, tokens, num_features)."""
        table: Tensor = self.network.pos_embed
        rows, columns = self.network.patch_embed.grid_size
        if (height, width) == (rows, columns):
            return table
        fixed = 0 if self.network.no_embed_class else self.network.num_prefix_tokens
        grid = table[:, fixed:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        grid = grid.to(torch.promote_types(grid.dtype, torch.float32))
        if self.positions_rule == "released":
            scale = ((height + _OFFSET) / rows, (width + _OFFSET) / columns)
            grid = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
        else:
            grid = functional.interpolate(grid, size=(height, width), mode="bicubic", antialias=True)
        return torch.cat([table[:, :fixed], grid.flatten(2).transpose(1, 2).to(table.dtype)], 1)

    def attention(self, images: Tensor) -> Tensor:
        """Return the attention probabilities of the last block, (B, heads, N, N), in evaluation mode; token 0 is CLS.

        Only there the fused kernel, which never holds them, is switched off.
        """
        layer: Any = self.network.blocks[-1].attn
        seen: list[Tensor] = []
        was_training, fused = self.training, layer.fused_attn
        handle = layer.attn_drop.register_forward_hook(lambda _, __, output: seen.append(output))
        self.eval()
        layer.fused_attn = False
        try:
            self.tokens(images)
        finally:
            handle.remove()
            layer.fused_attn = fused
            self.train(was_training)
        return seen[0]


def _build(name: str, **arguments: Any) -> Any:
    """Return timm's network without a classifier, its output the CLS token; raise ConfigError if it is no such one."""
    if not timm.is_model(name.split(".")[0]):
        near = ", ".join(timm.list_models(f"{name[:8]}*")[:5])
        raise ConfigError(f"Vit: timm has no model {name!r}; models with a like name: {near or 'none'}")
    try:
        network = timm.create_model(name, num_classes=0, global_pool="token", dynamic_img_size=True, **arguments)
    except (AssertionError, TypeError, RuntimeError) as error:
        raise ConfigError(f"Vit: timm cannot build {name} with {arguments}: {error or type(error).__name__}") from error
    if type(network) is not VisionTransformer or network.pos_embed is None:
        raise ConfigError(
            f"Vit: {name} is a {type(network).__name__} of timm; expected a VisionTransformer with a position table"
        )
    return network

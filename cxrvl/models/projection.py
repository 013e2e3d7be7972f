"""How do a tower's features get into the space that both towers share?"""

from torch import Tensor, nn

from cxrvl.errors import ConfigError


class NormedLinear(nn.Sequential):
    """LayerNorm, then a linear layer (B, width) -> (B, dim): the text projection of LLM2CLIP4CXR."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, dim))


class ResidualAdapter(nn.Module):
    """Residual MLP blocks, then LayerNorm and a linear layer, for features of a frozen tower (LLM2CLIP).

    Each block adds MLP(LayerNorm(x)); a new one adds nothing, so that training starts from the features as they are.

    Args:
        width: of the features. dim: of the shared space.
        blocks: how many. expansion: hidden width of a block over width.

    Raises:
        ConfigError: no block, or no hidden width.
    """

    def __init__(self, width: int, dim: int, blocks: int = 4, expansion: float = 2.0) -> None:
        super().__init__()
        hidden = int(width * expansion)
        if blocks < 1 or hidden < 1:
            raise ConfigError(
                f"residual adapter: blocks={blocks}, expansion={expansion}; expected at least one of each"
            )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
            for _ in range(blocks)
        )
        for block in self.blocks:
            last = block[-1]  # type: ignore[index]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.out = NormedLinear(width, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Project features (B, width) to (B, dim)."""
        for block in self.blocks:
            features = features + block(features)
        return self.out(features)


class Mlp(nn.Sequential):
    """LayerNorm and two linear layers with GELU between them; hidden: of the layer between, None = as wide as the features."""

    def __init__(self, width: int, dim: int, hidden: int | None = None) -> None:
        between = width if hidden is None else hidden
        if between < 1:
            raise ConfigError(f"projection: hidden={hidden}; expected at least 1")
        super().__init__(nn.LayerNorm(width), nn.Linear(width, between), nn.GELU(), nn.Linear(between, dim))

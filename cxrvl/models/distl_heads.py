"""Which heads stand on the embedding of a self-training network: prototypes for DINO, logits for the labels?

distl.md section 1.1; the feature head is DINO's (Caron et al., ICCV 2021, arXiv:2104.14294, appendix C).
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from cxrvl.errors import ConfigError

_INITIAL_STD = 0.02


class FeatureHead(nn.Module):
    """An MLP with GELU to a bottleneck of unit length and a weight-normalised layer to the prototypes' scores.

    Embeddings (B, num_features) become (B, prototypes), before any softmax.
    layers: linear layers up to the bottleneck, at least 1. batch_norm: after each but the last of them.
    freeze_norm: the prototypes keep unit length, their scale is not trained.
    torch's parametrised weight norm is used, since networks with the older one cannot be deep-copied; files with its
    weight_g and weight_v load.
    """

    def __init__(
        self,
        num_features: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        prototypes: int = 65_536,
        layers: int = 3,
        batch_norm: bool = False,
        freeze_norm: bool = True,
    ) -> None:
        super().__init__()
        self.prototypes = prototypes
        self.mlp = _mlp(num_features, hidden, bottleneck, layers, nn.GELU, batch_norm, "feature head")
        last = weight_norm(nn.Linear(bottleneck, prototypes, bias=False))
        self.last_layer = last
        self.scale.data.fill_(1.0)
        self.scale.requires_grad_(not freeze_norm)

    @property
    def scale(self) -> nn.Parameter:
        """The prototypes' lengths (prototypes, 1)."""
        parametrized: Any = self.last_layer.parametrizations
        scale: nn.Parameter = parametrized.weight.original0
        return scale

    def bottleneck(self, embeddings: Tensor) -> Tensor:
        """Return the unit vectors (B, bottleneck) that enter the last layer."""
        return functional.normalize(self.mlp(embeddings), dim=-1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the prototypes' scores (B, prototypes) of embeddings (B, num_features)."""
        scores: Tensor = self.last_layer(self.bottleneck(embeddings))
        return scores


class ClassHead(nn.Module):
    """An MLP with ReLU: embeddings (B, num_features) become logits (B, num_labels).

    layers: linear layers, at least 1; with 1 it is a linear classifier.
    """

    def __init__(self, num_features: int, num_labels: int, hidden: int = 256, layers: int = 3) -> None:
        super().__init__()
        if num_labels < 1:
            raise ConfigError(f"class head: num_labels={num_labels}; expected at least one label")
        self.num_labels = num_labels
        self.mlp = _mlp(num_features, hidden, num_labels, layers, nn.ReLU, False, "class head")

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (B, num_labels) of embeddings (B, num_features)."""
        logits: Tensor = self.mlp(embeddings)
        return logits


def _mlp(
    inputs: int, hidden: int, outputs: int, layers: int, activation: type[nn.Module], batch_norm: bool, what: str
) -> nn.Sequential:
    """Return linear layers, all but the last with an activation; truncated-normal weights, zero biases, as DINO's."""
    if layers < 1:
        raise ConfigError(f"{what}: layers={layers}; expected at least 1")
    mlp = nn.Sequential()
    for layer in range(layers):
        last = layer == layers - 1
        linear = nn.Linear(inputs if layer == 0 else hidden, outputs if last else hidden)
        nn.init.trunc_normal_(linear.weight, std=_INITIAL_STD)
        nn.init.zeros_(linear.bias)
        mlp.append(linear)
        if not last:
            if batch_norm:
                mlp.append(nn.BatchNorm1d(hidden))
            mlp.append(activation())
    return mlp

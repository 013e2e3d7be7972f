"""How does a feature map become one logit per label, and where does each logit come from?

All heads are a 1x1 convolution to one class map per label and a rule that pools each map to its logit, so the maps
(B, L, h, w) are logits of places and explain the image's logits (B, L) exactly.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClassMapHead(nn.Module):
    """A 1x1 convolution to class maps and a pooling rule: features (B, C, h, w) to logits (B, L), maps (B, L, h, w)."""

    def __init__(self, num_features: int, num_labels: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(num_features, num_labels, 1)

    def pool(self, maps: Tensor) -> Tensor:
        """Return logits (B, L) of class maps (B, L, h, w)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image's logits (B, L) and the class maps (B, L, h, w)."""
        maps = self.classifier(features)
        return self.pool(maps), maps


class MaxPoolHead(ClassMapHead):
    """The logit is the map's maximum: the head of the ACM release (acm.md section 6.1)."""

    def pool(self, maps: Tensor) -> Tensor:
        """Return the maximum of each map."""
        return functional.adaptive_max_pool2d(maps, 1).flatten(1)


class AveragePoolHead(ClassMapHead):
    """The logit is the map's mean: global average pooling and a linear layer, as in CheXNet.

    The two are one because the layer is linear; the maps are then the class activation maps (CAM; Zhou et al.,
    CVPR 2016, equation 2) including the bias.
    """

    def pool(self, maps: Tensor) -> Tensor:
        """Return the mean of each map."""
        return maps.mean((2, 3))


class PCAMHead(ClassMapHead):
    """The logit is the map's mean weighted by its own probabilities: it localises from image labels alone.

    Probabilistic-CAM pooling (Ye et al., arXiv:2005.14480, section 3.2): features are pooled with weights
    sigmoid(s) / sum sigmoid(s), then classified by the same layer; the layer is linear and the weights sum to 1, so
    the logit is sum of weight * s. Weights are a softmax of log-sigmoid, which does not underflow.
    """

    def pool(self, maps: Tensor) -> Tensor:
        """Return the probability-weighted mean of each map."""
        scores = maps.flatten(2).to(torch.promote_types(maps.dtype, torch.float32))
        return (functional.logsigmoid(scores).softmax(2) * scores).sum(2).to(maps.dtype)

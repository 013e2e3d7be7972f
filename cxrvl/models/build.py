"""How do the parts named in a config become one network: a classifier, or a network for self-training?"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from cxrvl.errors import ConfigError
from cxrvl.models.backbones import Backbone
from cxrvl.models.classifier import ImageClassifier
from cxrvl.models.context import ContextFactory
from cxrvl.models.image_encoder import ImageEncoder
from cxrvl.models.self_training import SelfTrainingNetwork
from cxrvl.models.vit import Vit


def classifier(
    backbone: Callable[..., Backbone],
    head: Callable[[int, int], nn.Module],
    num_labels: int,
    context: ContextFactory | Mapping[str, Any] | None = None,
    groups: int | None = None,
    in_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ImageClassifier:
    """Build an `ImageClassifier` whose backbone carries a context module.

    backbone: factory called with `context` and `in_channels`; head: factory called with (num_features, num_labels).
    context: factory called with a channel count; None or empty (the option `model/context=none`) for no module.
    groups: of the context module, short for `context.groups`.
    Raises ConfigError for groups without a context module that has any.
    """
    factory: Callable[..., nn.Module] | None = context if callable(context) else None
    if groups is not None:
        if factory is None:
            raise ConfigError(f"model.groups={groups}, but there is no context module; choose one: model/context=acm")
        factory = partial(factory, groups=groups)
    try:
        network = backbone(context=factory, in_channels=in_channels)
    except TypeError as error:
        raise ConfigError(
            f"the context module cannot be built: {error}; check model.context and model.groups"
        ) from error
    return ImageClassifier(network, head, num_labels, in_channels, mean, std)


def self_training(
    backbone: Callable[..., Backbone | Vit],
    class_head: Callable[[int, int], nn.Module],
    num_labels: int,
    feature_head: Callable[[int], nn.Module] | Mapping[str, Any] | None = None,
    in_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> SelfTrainingNetwork:
    """Build a `SelfTrainingNetwork`.

    backbone: factory called with `in_channels`; class_head: factory called with (num_features, num_labels).
    feature_head: factory called with num_features; None or empty for a network without self-distillation.
    """
    encoder = ImageEncoder(backbone(in_channels=in_channels), in_channels, mean, std)
    features = feature_head(encoder.num_features) if callable(feature_head) else None
    return SelfTrainingNetwork(encoder, class_head(encoder.num_features, num_labels), features)

"""What does every backbone promise, whatever network is behind it?"""

from collections.abc import Callable

from torch import Tensor, nn

from cxrvl.models.acm import ACM
from cxrvl.models.weights import fit_stem, hub_state, load_weights, names_a_file, read_state

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network that turns images (B, in_channels, H, W) into one feature map (B, num_features, h, w).

    mean, std: the normalisation its pretrained weights expect, per RGB channel, of images in [0, 1].
    """

    num_features: int
    in_channels: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def contexts(self) -> dict[str, nn.Module]:
        """Return the inserted context modules by their name inside the backbone, in the order images pass them."""
        raise NotImplementedError

    def context_keys(self) -> set[str]:
        """Return the state-dict keys of all inserted context modules."""
        return {f"{name}.{key}" for name, module in self.contexts().items() for key in module.state_dict()}

    def load_pretrained(
        self,
        weights: str,
        *,
        hub_model: str,
        stem: str,
        head: tuple[str, ...],
        rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    ) -> None:
        """Load a local file, or torchvision's `weights` of `hub_model`, with the context modules' keys missing.

        stem: key of the first kernel, summed over RGB for one input channel; head: keys of the ImageNet classifier.
        """
        state = rename(read_state(weights) if names_a_file(weights) else hub_state(hub_model, weights))
        state = fit_stem(state, stem, self.in_channels)
        load_weights(self, state, origin=weights, may_miss=self.context_keys(), may_exceed=head)


def count_acms(model: nn.Module) -> int:
    """Return how many ACMs a model carries."""
    return sum(isinstance(module, ACM) for module in model.modules())

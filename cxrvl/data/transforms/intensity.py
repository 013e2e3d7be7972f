"""How do exposure, contrast, sharpness and noise vary? Steps that change grey values and leave places alone."""

import math

import torch
from torch import Tensor

from cxrvl.data.random import Draw
from cxrvl.data.transforms.bands import Blurs, placed
from cxrvl.data.transforms.geometry import interval, needed, probability
from cxrvl.errors import ConfigError


class ColorJitter:
    """torchvision's ColorJitter on grey images: brightness and contrast factors from [max(0, 1 - v), 1 + v].

    The two steps come in random order, each clips to [0, 1]; contrast is about the image's own mean. `saturation` is
    accepted because published recipes state it; on grey images it changes nothing.
    """

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        if min(brightness, contrast, saturation) < 0:
            raise ConfigError(f"ColorJitter: {brightness}, {contrast}, {saturation}; expected amounts of at least 0")
        self.brightness = (max(0.0, 1.0 - brightness), 1.0 + brightness)
        self.contrast = (max(0.0, 1.0 - contrast), 1.0 + contrast)

    def factors(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Brightness (B,), contrast (B,) and whether brightness comes first (B,) bool."""
        u = draw.uniform("jitter", 3)
        return _between(u[:, 0], self.brightness), _between(u[:, 1], self.contrast), u[:, 2] < 0.5

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same."""
        brightness, contrast, first = self.factors(needed(draw, self))
        images = _blend(images, torch.where(first, brightness, contrast), ~first, torch.empty_like(images))
        return _blend(images, torch.where(first, contrast, brightness), first, images)


def _blend(images: Tensor, factor: Tensor, about_mean: Tensor, out: Tensor) -> Tensor:
    """Scale grey values by (B,) factors, about each image's mean where `about_mean`, clipped to [0, 1], into `out`."""
    mean = images.mean(dim=(1, 2, 3))
    offset = torch.where(about_mean, (1 - factor) * mean, torch.zeros_like(mean))
    # One broadcast operand a pass: with two, torch leaves its vector loop.
    torch.mul(images, factor.view(-1, 1, 1, 1), out=out)
    return out.add_(offset.view(-1, 1, 1, 1)).clamp_(0.0, 1.0)


class RandomGamma:
    """Raise grey values to a power gamma, log-uniform in a range around 1: another exposure curve; p: share changed."""

    def __init__(self, gamma: tuple[float, float] | list[float] = (0.8, 1.25), p: float = 1.0) -> None:
        self.gamma = interval(gamma, "RandomGamma.gamma", above=0.0)
        self.p = probability(p, "RandomGamma")

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same."""
        u = needed(draw, self).uniform("gamma", 2)
        power = _between(u[:, 0], (math.log(self.gamma[0]), math.log(self.gamma[1]))).exp()
        power = power.masked_fill(u[:, 1] >= self.p, 1.0)
        return images.pow(power.view(-1, 1, 1, 1))


class GaussianNoise:
    """Add white noise with a standard deviation drawn from a range (in shares of full scale); p: share changed."""

    def __init__(self, std: tuple[float, float] | list[float] = (0.0, 0.03), p: float = 1.0) -> None:
        self.std = interval(std, "GaussianNoise.std", above=-1e-12)
        self.p = probability(p, "GaussianNoise")

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same."""
        draw = needed(draw, self)
        u = draw.uniform("noise", 2)
        chosen = torch.nonzero(u[:, 1] < self.p)[:, 0]
        if not len(chosen):
            return images
        noise = draw.take(chosen).normal("pixels", images[0].numel()).view(-1, *images.shape[1:])
        std = _between(u[chosen, 0], self.std).view(-1, 1, 1, 1)
        return images.index_copy(0, chosen, torch.addcmul(images[chosen], noise, std).clamp_(0.0, 1.0))


class GaussianBlur:
    """Blur with a Gaussian whose sigma (output pixels) is drawn from a range; borders are mirrored; p: share changed."""

    def __init__(self, sigma: tuple[float, float] | list[float] = (0.1, 2.0), p: float = 1.0) -> None:
        self.sigma = interval(sigma, "GaussianBlur.sigma", above=0.0)
        self.p = probability(p, "GaussianBlur")
        # Three standard deviations of the widest kernel: what is cut off is below 0.3 %.
        self.radius = max(1, math.ceil(3 * self.sigma[1]))
        pixel = (torch.arange(2 * self.radius + 1) + torch.arange(-self.radius, self.radius + 1)[:, None]).abs()
        self.placed = placed(torch.where(pixel > 2 * self.radius, 4 * self.radius - pixel, pixel))

    def __call__(self, images: Tensor, draw: Draw | None) -> Tensor:
        """(B, 1, H, W) float32 in [0, 1] to the same; H and W must exceed twice the kernel's radius."""
        u = needed(draw, self).uniform("blur", 2)
        chosen = torch.nonzero(u[:, 1] < self.p)[:, 0]
        if not len(chosen):
            return images
        sigma = _between(u[chosen, 0].to(torch.float64), self.sigma)[:, None]
        offset = torch.arange(-self.radius, self.radius + 1, device=images.device, dtype=sigma.dtype)
        kernel = torch.softmax(-(offset[None] ** 2) / (2 * sigma**2), dim=1)
        weights = (kernel @ self.placed.to(images.device)).view(len(chosen), len(offset), -1)
        size, what = (images.shape[-2], images.shape[-1]), f"GaussianBlur of sigma {self.sigma[1]}"
        return Blurs(chosen, weights[:, : self.radius + 1], size, what).blur_(images.clone())


def _between(u: Tensor, low_high: tuple[float, float]) -> Tensor:
    return u * (low_high[1] - low_high[0]) + low_high[0]

"""How much do K and Q of a forward pass overlap, as one number to be minimised?"""

from typing import Literal

import torch
from torch import Tensor, nn

from cxrvl.errors import ConfigError
from cxrvl.models.acm import ACM

Scope = Literal["all", "last_stage"]
Reduction = Literal["abs_of_mean", "signed_sum", "per_sample_abs"]
_SCOPES = ("all", "last_stage")
_REDUCTIONS = ("abs_of_mean", "signed_sum", "per_sample_abs")


class OrthogonalityCollector:
    """Gather the dot products that the ACMs of a model left behind in one forward pass (acm.md sections 1.4 and 7.4).

    scope: "all" modules (the ChestX-ray14 release), or those of the "last_stage" that carries any (the COCO release).
    reduction over M modules and B images, with d_mb = K.Q / C:
    "abs_of_mean" |mean_b sum_m d_mb|, the release, where signs cancel; "signed_sum" mean_b sum_m d_mb, the paper;
    "per_sample_abs" mean_b sum_m |d_mb|, where nothing cancels.
    The value is not multiplied by lambda.
    A model without any ACM gives 0, so that baselines train with the same task.
    """

    def __init__(self, model: nn.Module, scope: Scope = "all", reduction: Reduction = "abs_of_mean") -> None:
        if scope not in _SCOPES:
            raise ConfigError(f"orthogonality: scope={scope!r} is unknown; expected one of {', '.join(_SCOPES)}")
        if reduction not in _REDUCTIONS:
            raise ConfigError(
                f"orthogonality: reduction={reduction!r} is unknown; expected one of {', '.join(_REDUCTIONS)}"
            )
        self.reduction = reduction
        self._all = [module for module in model.modules() if isinstance(module, ACM)]
        self.modules = self._all
        if scope == "last_stage" and self._all:
            stages = [module.stage for module in self._all if module.stage is not None]
            if len(stages) != len(self._all):
                raise ConfigError("orthogonality: scope=last_stage needs ACMs placed by a backbone, which knows stages")
            self.modules = [module for module in self._all if module.stage == max(stages)]

    def __call__(self, over_devices: bool = False) -> Tensor:
        """Return the reduced dot product (scalar) and clear every module, also those out of scope.

        over_devices: all devices hold equal shares of one batch; the average of what they return, and of its
        gradients, is then that of the whole batch. Without it each stands for its own images.
        Raises RuntimeError if a module has no dot product: the model has not run since the last call.
        """
        dots = []
        for module in self.modules:
            if module.dot is None:
                raise RuntimeError("orthogonality: an ACM holds no dot product; call the model before the collector")
            dots.append(module.dot)
        for module in self._all:
            module.dot = None
        if not dots:
            return torch.zeros(())
        per_module = torch.stack(dots)
        if self.reduction == "per_sample_abs":
            return per_module.abs().sum(0).mean()
        total = per_module.sum(0).mean()
        if self.reduction == "signed_sum":
            return total
        if over_devices:  # |mean| of all images has the sign of their mean, whichever way one device's images lean
            everywhere = total.detach().clone()
            torch.distributed.all_reduce(everywhere)
            return total * everywhere.sign()
        return total.abs()

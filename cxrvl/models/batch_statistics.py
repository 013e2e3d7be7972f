"""Which layers normalise a row by the other rows of its batch while they train?"""

from torch import nn


def uses_batch_statistics(module: nn.Module) -> bool:
    """Return whether a layer is of this kind: BatchNorm, and any other that keeps a running variance, as timm's EvoNorm-B0.

    InstanceNorm keeps one too, of each image by itself; a frozen BatchNorm reads the one it has.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    runs = getattr(module, "running_var", None) is not None
    return (
        runs and not isinstance(module, nn.modules.instancenorm._InstanceNorm) and "Frozen" not in type(module).__name__
    )

"""How are grouped products with a feature map taken without copying it, in either memory format?

Contiguous maps use one small matrix per image and group. Channels-last maps use block-diagonal matrices, because a
group's channels are not adjacent in memory: more multiply-adds, but still one read of the map per product.
"""

import torch
from torch import Tensor


class GroupedMap:
    """A feature map (B, C, H, W) seen as G groups of C/G channels at n = H*W positions."""

    def __init__(self, x: Tensor, groups: int) -> None:
        self.batch, self.channels, self.height, self.width = x.shape
        self.groups, self.positions = groups, self.height * self.width
        self.channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        if self.channels_last:
            self._data = x.permute(0, 2, 3, 1).view(self.batch, self.positions, self.channels)
        else:
            self._data = x.reshape(self.batch * groups, self.channels // groups, self.positions)

    def weigh_channels(self, weights: Tensor) -> Tensor:
        """Return sum_c weights[b,g,r,c] x[b,g,c,n] as (B, G, R, n) for weights (B, G, R, C/G)."""
        rows = weights.shape[2]
        if self.channels_last:
            product = torch.bmm(self._block_diagonal(weights), self._data.transpose(1, 2))
        else:
            product = torch.bmm(weights.reshape(self.batch * self.groups, rows, -1), self._data)
        return product.view(self.batch, self.groups, rows, self.positions)

    def weigh_positions(self, maps: Tensor) -> Tensor:
        """Return sum_n maps[b,g,r,n] x[b,g,c,n] as vectors (B, R, C) for maps (B, G, R, n)."""
        rows = maps.shape[2]
        if self.channels_last:
            product = torch.bmm(maps.reshape(self.batch, self.groups * rows, self.positions), self._data)
            own = product.view(self.batch, self.groups, rows, self.groups, -1).diagonal(dim1=1, dim2=3)
            return own.transpose(2, 3).reshape(self.batch, rows, self.channels)
        product = torch.bmm(maps.reshape(self.batch * self.groups, rows, -1), self._data.transpose(1, 2))
        by_group = product.view(self.batch, self.groups, rows, -1)
        return by_group.transpose(1, 2).reshape(self.batch, rows, self.channels)

    def inner_products(self, other: Tensor, dtype: torch.dtype) -> Tensor:
        """Return sum_n other[b,c,n] x[b,c,n] as vectors (B, C) for a map of the same shape."""
        if self.channels_last:
            flat = other.permute(0, 2, 3, 1).reshape(self._data.shape)
            return (flat * self._data).sum(1, dtype=dtype)
        # A small matrix per group, of which the diagonal is used, spares a temporary as large as the map.
        products = torch.bmm(self._data, other.reshape(self._data.shape).transpose(1, 2))
        return products.diagonal(dim1=1, dim2=2).reshape(self.batch, self.channels).to(dtype)

    def spread(self, weights: Tensor, maps: Tensor) -> Tensor:
        """Return sum_r weights[b,g,r,c] maps[b,g,r,n] as a new map in this map's shape and memory format."""
        rows = weights.shape[2]
        if self.channels_last:
            flat = maps.reshape(self.batch, self.groups * rows, self.positions)
            product = torch.bmm(flat.transpose(1, 2), self._block_diagonal(weights))
            return product.view(self.batch, self.height, self.width, self.channels).permute(0, 3, 1, 2)
        flat = maps.reshape(self.batch * self.groups, rows, self.positions)
        product = torch.bmm(weights.reshape(self.batch * self.groups, rows, -1).transpose(1, 2), flat)
        return product.view(self.batch, self.channels, self.height, self.width)

    def _block_diagonal(self, weights: Tensor) -> Tensor:
        """Lay weights (B, G, R, C/G) out as (B, G*R, C), zero outside each group's own channels."""
        batch, groups, rows, width = weights.shape
        blocks = weights.new_zeros(batch, groups, rows, groups, width)
        blocks.diagonal(dim1=1, dim2=3).copy_(weights.permute(0, 2, 3, 1))
        return blocks.view(batch, groups * rows, groups * width)

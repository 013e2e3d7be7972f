"""Networks: context modules, the backbones that carry them, heads, and their weights."""

"""Which keys of a state dict may a checkpoint be without, because it was written before they were kept?"""

LORA_SCALE = "lora_scale"
"""What adapters multiply their update by, see `cxrvl.models.text.omission`."""
LATER = frozenset({LORA_SCALE})


def may_lack(key: str) -> bool:
    """Return whether a checkpoint may be without this key: then there is nothing to compare it with."""
    return key.rpartition(".")[2] in LATER

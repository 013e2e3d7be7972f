"""`cxrvl check`: is a config sound, before anything is built?"""

from collections.abc import Sequence

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved


def check_config(overrides: Sequence[str]) -> None:
    """Compose and verify a config, and say how much was verified."""
    config = resolved(compose_config(overrides))
    print(f"the config of {config['name']} is sound: {check(config)} targets and their keywords exist")

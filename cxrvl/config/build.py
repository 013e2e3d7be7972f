"""How does a config node become an object, with errors a user understands?"""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from cxrvl.errors import ConfigError, CxrvlError


def build(node: Any) -> Any:
    """Build what a checked config node's `_target_` names, nested targets first; lists and dicts arrive as such.

    Raises:
        CxrvlError: as the target raised it, freed from Hydra's wrapping.
        ConfigError: a value that the target, or a library behind it, refuses; or a package or file it lacks.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, CxrvlError):
            raise cause from error
        where = str(error).splitlines()[-1].removeprefix("full_key: ") if "full_key" in str(error) else ""
        target = node.get("_target_", "") if isinstance(node, dict) else ""
        raise ConfigError(
            f"cannot build {where or target}: {type(cause).__name__}: {' '.join(str(cause).split())}"
        ) from error

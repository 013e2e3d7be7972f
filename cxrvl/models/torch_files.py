"""How is a PyTorch file read without running anything in it, and what is said of one that is damaged?"""

import struct
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from cxrvl.errors import WeightsError

# torch's reader has no error of its own for bytes it does not expect: these are what damaged files made it raise
# (tests damage some more). What is no fault of the file, such as no memory for Python objects, is none of them.
DAMAGE = (
    RuntimeError,  # a broken archive, a storage of another size
    EOFError,
    OSError,  # a cut archive; the system's own faults are told apart, see below
    ValueError,  # with UnicodeDecodeError
    LookupError,  # KeyError, IndexError: pickle's memo and stack
    TypeError,  # a call with other arguments
    AttributeError,
    AssertionError,
    struct.error,
    OverflowError,
)
COPY_AGAIN = "; copy it again, or make it anew"


def read_torch_file(path: Path, remedy: str = COPY_AGAIN) -> Any:
    """Return what a PyTorch file holds: tensors, plain values and containers of them.

    Args:
        path: of the file.
        remedy: what the user is to do about a damaged one, the end of the message.

    Raises:
        WeightsError: no such file, a damaged one, or one that holds more than that.
        OSError: the system does not let the file be read; names it.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; name a checkpoint or a file of weights")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            f"{path} cannot be read safely: it is no PyTorch file, or holds more than tensors and plain values{remedy}"
        ) from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # not allowed, gone, or a failing disk: the message of the system names file and reason
        raise WeightsError(
            f"{path} cannot be read as a checkpoint, it may be cut short ({_reason(error)}){remedy}"
        ) from error


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

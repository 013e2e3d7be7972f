"""Which p-values survive when a table makes several tests?"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values (Holm 1979): p times the number of tests still open, never decreasing.

    Args:
        p: (k,) two-sided p-values in [0, 1]; NaN marks a test that could not be made and is not counted.

    Returns:
        (k,) adjusted, at most 1, NaN where the input is NaN; reject what is ≤ alpha.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    values = np.asarray(p, dtype=np.float64).ravel()
    made = ~np.isnan(values)
    if ((values[made] < 0) | (values[made] > 1)).any():
        raise ValueError("a p-value lies outside [0, 1]")
    order = np.argsort(values[made], kind="stable")
    steps = values[made][order] * np.arange(made.sum(), 0, -1)
    adjusted = np.empty(int(made.sum()))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    result = np.full(values.shape, np.nan)
    result[made] = adjusted
    return result

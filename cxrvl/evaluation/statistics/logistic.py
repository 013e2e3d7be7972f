"""How is a binary label read off a vector by a straight line? Logistic regression with an L2 penalty."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]
_STEPS = 200


def fit_logistic(vectors: Floats, targets: NDArray[np.floating], penalty: float) -> Callable[[Floats], Floats]:
    """Fit logistic regression.

    Args:
        vectors: (n, D), best standardised.
        targets: (n,) 1 or 0.
        penalty: weight of half the squared norm of the coefficients, beside the mean loss; the offset is free.

    Returns:
        From vectors (m, D) to logits (m,). Where one class is absent, all logits are 0: nothing was learnt.
    """
    y = np.asarray(targets, dtype=np.float64)
    if not len(y) or y.min() == y.max():
        return lambda given: np.zeros(len(given))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, offset = parameters[:-1], parameters[-1]
        logits = vectors @ weights + offset
        error = (expit(logits) - y) / len(y)
        value = float(np.mean(np.logaddexp(0, logits) - y * logits) + penalty / 2 * weights @ weights)
        return value, np.append(vectors.T @ error + penalty * weights, error.sum())

    start = np.zeros(vectors.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    return lambda given: np.asarray(given @ found[:-1] + found[-1])

"""Least squares whose unknowns are not negative, by the active-set method of Lawson and Hanson.

C. L. Lawson, R. J. Hanson, Solving Least Squares Problems (1974), chapter 23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def nnls(matrix: Floats, wanted: Floats) -> Floats:
    """The x ≥ 0 that makes |matrix · x - wanted| least; a column of zeros gets 0."""
    import numpy as np

    norms = np.linalg.norm(matrix, axis=0)
    a = matrix / np.where(norms > 0, norms, 1.0)
    count = a.shape[1]
    x = np.zeros(count)
    passive = np.zeros(count, dtype=bool)
    tolerance = 1e-12 * float(np.linalg.norm(wanted))
    for _ in range(30 * count + 1):
        gradient = np.where(passive, -np.inf, a.T @ (wanted - a @ x))
        best = int(np.argmax(gradient))
        if gradient[best] <= tolerance:
            break
        passive[best] = True
        while passive.any():
            trial = np.zeros(count)
            trial[passive] = np.linalg.lstsq(a[:, passive], wanted, rcond=None)[0]
            below = passive & (trial <= 0)
            if not below.any():
                x = trial
                break
            # Go as far as the first unknown that would turn negative, and hold it at 0.
            steps = np.full(count, np.inf)
            steps[below] = x[below] / (x[below] - trial[below])
            x = x + float(steps.min()) * (trial - x)
            passive[int(np.argmin(steps))] = False
            x[~passive] = 0.0
    scaled: Floats = x / np.where(norms > 0, norms, 1.0)
    return scaled


def ridge_nnls(matrix: Floats, wanted: Floats, prior: Floats, strength: float) -> Floats:
    """As `nnls`, drawn to a prior: adds strength · mean squared column norm · |x - prior|²."""
    import numpy as np

    count = matrix.shape[1]
    pull = np.sqrt(strength * float((matrix**2).sum()) / count)
    return nnls(np.vstack([matrix, pull * np.eye(count)]), np.concatenate([wanted, pull * prior]))


def determined_by_others(matrix: Floats, share: float = 1e-3) -> list[list[int]]:
    """For each column the others that it is a combination of, but for `share` of its length.

    An empty list where it is none, or of zeros.
    """
    import numpy as np

    norms = np.linalg.norm(matrix, axis=0)
    a = matrix / np.where(norms > 0, norms, 1.0)
    others_of: list[list[int]] = []
    for k in range(a.shape[1]):
        others = [j for j in range(a.shape[1]) if j != k and norms[j] > 0]
        if norms[k] == 0 or not others:
            others_of.append([])
            continue
        parts = np.linalg.lstsq(a[:, others], a[:, k], rcond=None)[0]
        left = float(np.linalg.norm(a[:, k] - a[:, others] @ parts))
        others_of.append(
            [j for j, part in zip(others, parts, strict=True) if abs(part) > 1e-2]
            if left < share
            else []
        )
    return others_of

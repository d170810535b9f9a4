"""A linear probe in closed form: ridge regression whose penalty the leave-one-out error chooses."""

from __future__ import annotations

import numpy as np

ALPHAS = tuple(10.0 ** (half / 2) for half in range(-4, 13))  # from 0.01 to a million


def ridge(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, float]:
    """Predictions of ridge regression on standardised features, with an intercept.

    `w = argmin ||y - b - X w||^2 + alpha ||w||^2`. Of `ALPHAS` the one is taken whose leave-one-out error, averaged
    over images and targets, is the lowest. One singular value decomposition of X gives all of these errors: with the
    hat matrix `H = 1/N + U diag(s^2 / (s^2 + alpha)) U^T`, the error of an image that is left out is
    `(y_i - (H y)_i) / (1 - H_ii)`.

    Args:
        train_x: features `(N, D)`; mean and standard deviation are those of these.
        train_y: targets `(N, T)`.
        test_x: features `(M, D)`.

    Returns:
        Predictions, float64 `(M, T)`, and alpha.

    Reference: Golub, Heath and Wahba, "Generalized cross-validation", Technometrics 1979; scikit-learn's `RidgeCV`.
    """
    train_x, train_y, test_x = (np.asarray(each, "float64") for each in (train_x, train_y, test_x))
    mean, std = train_x.mean(axis=0), train_x.std(axis=0)
    std[std <= 1e-12 * np.maximum(np.abs(mean), 1)] = 1.0  # a feature that is the same for all images
    around = train_y.mean(axis=0)
    left, values, right = np.linalg.svd((train_x - mean) / std, full_matrices=False)
    inside = left.T @ (train_y - around)  # (r, T)

    def error(alpha: float) -> float:
        shrunk = values**2 / (values**2 + alpha)
        residuals = train_y - around - left @ (shrunk[:, None] * inside)
        own = 1.0 / len(train_x) + np.square(left) @ shrunk
        return float(np.mean(np.square(residuals / np.maximum(1.0 - own, 1e-12)[:, None])))

    alpha = min(ALPHAS, key=error)
    weights = right.T @ ((values / (values**2 + alpha))[:, None] * inside)
    return (test_x - mean) / std @ weights + around, alpha

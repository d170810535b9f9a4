"""Refuses features that are not finite."""

from __future__ import annotations

import numpy as np


def check_finite(features: np.ndarray, dtype_policy: str) -> None:
    """Raises a ValueError if features of an encoder, `(N, ...)`, are not finite; with the likely causes."""
    broken = np.count_nonzero(~np.isfinite(features).all(axis=tuple(range(1, features.ndim))))
    if broken:
        raise ValueError(
            f"the encoder's features of {broken} of {len(features)} images are not finite: its weights hold NaN, or "
            f"its dtype policy, {dtype_policy}, does not hold its activations"
        )

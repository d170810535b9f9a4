"""A loss to compare others with."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """The loss of a prediction without detail.

    Attributes:
        loss: of this prediction.
        prediction: its name, such as `each patch's mean`.
    """

    loss: float
    prediction: str

    @property
    def rounded(self) -> str:
        """The loss with two decimals, or two digits if it is small."""
        return f"{self.loss:.2f}" if self.loss >= 0.1 else f"{self.loss:.2g}"

    def __str__(self) -> str:
        return f"a loss of {self.rounded} is that of predicting {self.prediction}"

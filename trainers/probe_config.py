"""What a linear probe is made of."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras_mae.trainers.classifier_config import ClassifierConfig


@dataclasses.dataclass(frozen=True)
class ProbeConfig(ClassifierConfig):
    """A linear probe of a frozen encoder. The defaults are the paper's for ViT-B/16 (arXiv 2111.06377, table 10).

    Without random crop and flip the features are computed once, and the probe trains on them.

    Attributes, beside those of `ClassifierConfig`:
        momentum: of LARS.
        block: None for the encoder's output, or the block whose tokens are probed, counted from 1.
    """

    program: ClassVar[str] = "linear-probe"

    pooling: str = "cls"
    epochs: int = 90
    warmup_epochs: float = 10.0
    batch_size: int = 16384
    base_learning_rate: float = 0.1
    momentum: float = 0.9
    block: int | None = None

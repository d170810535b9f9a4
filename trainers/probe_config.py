"""What a linear probe is made of."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from keras_mae.trainers.classifier_config import ClassifierConfig
from keras_mae.trainers.ranges import Count, Layers, Pooling, Range, Rate, ShareBelow1


@dataclasses.dataclass(frozen=True)
class ProbeConfig(ClassifierConfig):
    """A linear probe of a frozen encoder. The defaults are the paper's for ViT-B/16 (arXiv 2111.06377, table 10).

    Without random crop and flip the features are computed once, and the probe trains on them.

    Attributes, beside those of `ClassifierConfig`:
        momentum: of LARS.
        block: None for the encoder's output, or the block whose tokens are probed, counted from 1.
    """

    program: ClassVar[str] = "linear-probe"

    pooling: Pooling = "cls"
    epochs: Count = 90
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 10.0
    batch_size: Annotated[int, Range(1, 2**24)] = 16384
    base_learning_rate: Rate = 0.1
    momentum: ShareBelow1 = 0.9
    block: Layers | None = None

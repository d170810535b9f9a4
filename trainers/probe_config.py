"""What a linear probe is made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar

from keras_mae.trainers.classifier_config import ClassifierConfig, ClassifierOptimizer
from keras_mae.trainers.ranges import Count, Layers, Pooling, Range, Rate, ShareBelow1

if TYPE_CHECKING:
    from keras_mae.optimizers import LARS


@dataclasses.dataclass(frozen=True)
class ProbeHead:
    """The linear layer, on the tokens of one layer.

    Attributes:
        pooling: what it sees: `mean` of the patch tokens, or `cls`, the class token.
        layer: None for the encoder's output, or the layer whose tokens are probed, counted from 1.
    """

    pooling: Pooling = "cls"
    layer: Layers | None = None


@dataclasses.dataclass(frozen=True)
class ProbeOptimizer(ClassifierOptimizer):
    """LARS.

    Attributes:
        momentum: share of the last step that is taken again.
    """

    epochs: Count = 90
    warmup_epochs: Annotated[float, Range(0, 1_000_000)] = 10.0
    batch_size: Annotated[int, Range(1, 2**24)] = 16384
    base_learning_rate: Rate = 0.1
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    momentum: ShareBelow1 = 0.9

    def build(self, steps: int) -> LARS:
        """The optimizer, for an epoch of so many steps; errors as `schedule`."""
        from keras_mae.optimizers import LARS

        return LARS(self.schedule(steps), self.momentum, self.weight_decay)


@dataclasses.dataclass(frozen=True)
class ProbeConfig(ClassifierConfig):
    """A linear probe of a frozen encoder. The defaults are the paper's for ViT-B/16 (arXiv 2111.06377, table 10).

    Without random crop and flip the features are computed once, and the probe trains on them.
    """

    program: ClassVar[str] = "linear-probe"

    head: ProbeHead = ProbeHead()
    optimizer: ProbeOptimizer = ProbeOptimizer()

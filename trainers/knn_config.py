"""What a k-nearest-neighbour evaluation is made of."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from keras_mae.trainers.ranges import (
    Count,
    Layers,
    Level,
    Megapixels,
    Pooling,
    Positive,
    Range,
    Seed,
    ShareAbove0,
    check_fields,
)


@dataclasses.dataclass(frozen=True)
class KnnConfig:
    """An evaluation by nearest neighbours. Nothing is trained.

    Attributes:
        run: where the encoder comes from: the folder of a run, or a `.keras` file.
        validation_data: what it is tested on, if not the data's own validation split.
        k: numbers of neighbours that vote.
        temperature: a neighbour votes with the weight `exp(cosine / temperature)`.
        pooling: `mean` of the patch tokens, or `cls`, the class token.
        block: None for the encoder's output, or the block whose tokens are compared, counted from 1.
        num_classes: None for as many as the data has.
        labels_per_class: None, or take neighbours from so many images of each class, which the seed chooses.
        crop_ratio: of the evaluation transform; None for the run's, or 0.875 for a file that lies in no run's folder.
        background: what is seen through transparent pixels: a gray level in [0, 255].
        max_megapixels: images of more are refused before they are decoded.
        batch_size: images that are encoded together.
        seed: of the choice of labels.
    """

    program: ClassVar[str] = "knn"

    run: str | None = None
    validation_data: str | None = None
    k: tuple[Count, ...] = (1, 5, 10, 20)
    temperature: Positive = 0.07
    pooling: Pooling = "mean"
    block: Layers | None = None
    num_classes: Annotated[int, Range(2, 1_000_000)] | None = None
    labels_per_class: Count | None = None
    crop_ratio: ShareAbove0 | None = None
    background: Level = 255
    max_megapixels: Megapixels = 100.0
    batch_size: Annotated[int, Range(1, 2**24)] = 256
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)

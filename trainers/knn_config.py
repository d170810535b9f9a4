"""What a k-nearest-neighbour evaluation is made of."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from keras_mae.trainers.ranges import Count, Layers, Pooling, Positive, Range, Seed, ShareAbove0
from keras_mae.trainers.settings import Config
from keras_mae.trainers.training_parts import DecodedData


@dataclasses.dataclass(frozen=True)
class KnnEncoder:
    """A trained encoder, and which of its tokens are compared.

    Attributes:
        run: where it comes from: the folder of a run, or a `.keras` file.
        pooling: `mean` of the patch tokens, or `cls`, the class token.
        layer: None for the encoder's output, or the layer whose tokens are compared, counted from 1.
    """

    run: str | None = None
    pooling: Pooling = "mean"
    layer: Layers | None = None


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """Who votes.

    Attributes:
        k: numbers of neighbours that vote.
        temperature: a neighbour votes with the weight `exp(cosine / temperature)`.
    """

    k: tuple[Count, ...] = (1, 5, 10, 20)
    temperature: Positive = 0.07


@dataclasses.dataclass(frozen=True)
class KnnData(DecodedData):
    """Images with labels.

    Attributes:
        validation_data: what it is tested on, if not the data's own validation split.
        num_classes: None for as many as the data has.
        labels_per_class: None, or take neighbours from so many images of each class, which the seed chooses.
        crop_ratio: of the evaluation transform; None for the run's, or 0.875 for a file that lies in no run's folder.
    """

    validation_data: str | None = None
    num_classes: Annotated[int, Range(2, 1_000_000)] | None = None
    labels_per_class: Count | None = None
    crop_ratio: ShareAbove0 | None = None


@dataclasses.dataclass(frozen=True)
class KnnRun:
    """How it is computed.

    Attributes:
        batch_size: images that are encoded together.
        seed: of the choice of labels.
    """

    batch_size: Annotated[int, Range(1, 2**24)] = 256
    seed: Seed = 0


@dataclasses.dataclass(frozen=True)
class KnnConfig(Config):
    """An evaluation by nearest neighbours. Nothing is trained.

    Attributes:
        encoder: whose features are compared.
        neighbours: who votes.
        data, run: the images, and how it is computed.
    """

    program: ClassVar[str] = "knn"

    encoder: KnnEncoder = KnnEncoder()
    neighbours: Neighbours = Neighbours()
    data: KnnData = KnnData()
    run: KnnRun = KnnRun()

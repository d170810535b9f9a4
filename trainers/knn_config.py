"""The config of an evaluation by k nearest neighbours."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

from keras_mae.encoders.pooling import ATTENTIVE
from keras_mae.trainers.ranges import Count, Layers, Level, Megapixels, Pooling, Positive, Range, Seed, ShareAbove0
from keras_mae.trainers.settings import Config
from keras_mae.trainers.training_parts import DecodedData, Labels, Weights


@dataclasses.dataclass(frozen=True)
class KnnEncoder(Weights):
    """A trained encoder, and the features that are compared.

    Attributes:
        run: the folder of a run, or a `.keras` file.
        pooling: `mean` of the patch tokens, `cls`, the class token, or `both`.
        layer: whose tokens are compared, counted from 1; None for the encoder's output.
    """

    run: str | None = None
    pooling: Pooling = "mean"
    layer: Layers | None = None

    def __post_init__(self) -> None:
        if self.pooling == ATTENTIVE:
            raise ValueError(
                "kNN trains nothing, and attentive pooling has weights to be trained: take pooling=mean or cls, or "
                "train a probe with keras-mae linear-probe --set pooling=attentive"
            )


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The neighbours that vote, or whose numbers are averaged.

    Attributes:
        k: numbers of neighbours, each of which is evaluated.
        temperature: a neighbour counts with the weight `exp(cosine / temperature)`.
    """

    k: tuple[Count, ...] = (1, 5, 10, 20)
    temperature: Positive = 0.07


@dataclasses.dataclass(frozen=True)
class KnnData(Labels, DecodedData):
    """Images with labels.

    Attributes:
        crop_ratio: of the evaluation transform; None for the run's, or 0.875 for a file that lies in no run's folder.
        background: gray level behind transparent pixels, in [0, 255]; None for the run's, or 255 likewise.
        max_megapixels: limit on the size of an image, in millions of pixels; None for the run's, or 100 likewise.
    """

    crop_ratio: ShareAbove0 | None = None
    # Numbers before images are decoded
    background: Level | None = None  # type: ignore[assignment]
    max_megapixels: Megapixels | None = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class KnnRun:
    """Computation of the evaluation.

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
        encoder: the encoder, and the choice of its features.
        neighbours: the neighbours that vote.
        data: the decoding and the labels of images.
        run: the computation of the evaluation.
    """

    program: ClassVar[str] = "knn"

    encoder: KnnEncoder = KnnEncoder()
    neighbours: Neighbours = Neighbours()
    data: KnnData = KnnData()
    run: KnnRun = KnnRun()

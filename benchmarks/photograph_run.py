"""Pretraining and probes for a row of the table on photographs: one compiled model for all of its seeds."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from benchmarks import labelled_crops
from keras_mae.data import TrainingData, sample_images
from keras_mae.data.array_source import ArraySource
from keras_mae.encoders import Encoder
from keras_mae.layers import AttentivePooling
from keras_mae.trainers import evaluation
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.features import ENCODED, Features
from keras_mae.trainers.model_parts import Transformer
from keras_mae.trainers.pretrain import FITTED_ON, build
from keras_mae.trainers.programs import compile_model
from keras_mae.trainers.settings import replaced

PROBES = ("kNN", "linear", "attentive")
UNLABELLED, LABELLED, TESTED = 400, 40, 40  # crops of a photograph: to pretrain, for the probes, for the test
_LARGER = 1.5  # side of a crop to pretrain on, of which a random resized crop is taken
_NEIGHBOURS, _QUERIES, _PROBE_BATCH, _PROBE_EPOCHS, _PROBE_RATE = 10, 32, 100, 20, 1e-2


def recipe(side: int = labelled_crops.SIDE) -> PretrainConfig:
    """The baseline: the paper's masks and crops on a small network; a patch is an eighth of the side.

    The target is normalised pixels, the better one in the paper, too: in so short a pretraining plain ones gain half as
    much on random weights.
    """
    return replaced(
        PretrainConfig(),
        encoder=ViT(
            preset="vit_tiny_patch16",
            image_size=(side, side),
            channels=1,
            patch_size=(side // 8, side // 8),
            hidden_dim=128,
            num_layers=3,
            num_heads=2,
            position_temperature=10.0,
            mean=(0.5,),
            std=(0.2,),
        ),
        decoder=Transformer(hidden_dim=64, num_layers=2, num_heads=2),
        epochs=2,
        warmup_epochs=0.2,
        batch_size=32,
        base_learning_rate=8e-3,
        crop_ratio=1 / _LARGER,
        jit_compile=True,
    )


@dataclasses.dataclass(frozen=True)
class Crops:
    """The images of a seed.

    Attributes:
        unlabelled: to pretrain on, uint8 `(N, 1.5 side, 1.5 side, 1)`.
        train, test: images `(N, side, side, 1)` and labels `(N,)` for the probes.
    """

    unlabelled: np.ndarray
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, pictures: list[np.ndarray], seed: int, side: int) -> Crops:
        """The crops of a seed: those to pretrain and to probe with are of the same tiles."""
        larger, tile = round(_LARGER * side), 2 * side
        unlabelled, _ = labelled_crops.crops(pictures, UNLABELLED, 1000 + seed, False, larger, tile)
        train = labelled_crops.crops(pictures, LABELLED, seed, False, side)
        return cls(unlabelled, train, labelled_crops.crops(pictures, TESTED, seed, True, side))


class Pretraining:
    """Pretrains with the settings of one row; the graph is compiled once, and the seeds begin with other weights.

    Args:
        config: of the row; its seed is replaced.
    """

    def __init__(self, config: PretrainConfig) -> None:
        self.config = config
        self.model = build(config)
        self._compiled = False

    def __call__(self, crops: Crops, seed: int) -> list[float]:
        """Trains from the fresh weights of a seed; returns the loss of each epoch."""
        config = replaced(self.config, seed=seed)
        data, optimizer = config.data, config.optimizer
        images = crops.unlabelled
        if data.crop_scale is None:  # the middle, as it is
            side, margin = config.encoder.image_size[0], (images.shape[1] - config.encoder.image_size[0]) // 2
            images = images[:, margin : margin + side, margin : margin + side]
            data = dataclasses.replace(data, crop_ratio=1.0)
        source = ArraySource(images)
        steps = source.num_images // optimizer.batch_size
        if not self._compiled:
            self._seed = tf.Variable(seed, dtype=tf.int64, trainable=False)
            self.model.seed = self._seed  # a number would be a constant of the compiled step
            compile_model(self.model, config, steps)
            self.model.optimizer.build(self.model.trainable_variables)
            self._fresh = [np.array(variable) for variable in self.model.optimizer.variables]
            self._compiled = True
        self._seed.assign(seed)
        self.model.set_weights(build(config).get_weights())
        for variable, value in zip(self.model.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        if self.model.target.needs_fit:
            sample = sample_images(source, config.encoder.image_shape, FITTED_ON, data.crop_ratio)
            self.model.target.fit(sample)
        batches = TrainingData(source, config.encoder.image_shape, optimizer.batch_size, seed, data.build()).at(0)
        history = self.model.fit(batches, epochs=optimizer.epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
        return [float(loss) for loss in history.history["loss"]]


class Probes:
    """Accuracies of an encoder's features on the crops for the test.

    Args:
        encoder: with weights that may change between the calls; None for the pixels themselves.
    """

    def __init__(self, encoder: Encoder | None) -> None:
        self.encoder = encoder
        if encoder is not None:
            self._mean = Features(encoder, "mean")
            self._tokens = Features(encoder, lambda tokens: tokens.patches, encoder.num_layers)

    def __call__(self, crops: Crops, seed: int) -> dict[str, float]:
        """Test accuracies by the name of the probe."""
        (train, train_y), (test, test_y) = crops.train, crops.test
        train_x, test_x = self._features(train), self._features(test)
        knn = evaluation.knn_accuracy(train_x, train_y, test_x, test_y, _NEIGHBOURS)
        standard, standard_test = evaluation.standardized(train_x, test_x)
        linear = evaluation.linear_accuracy(standard, train_y, standard_test, test_y)
        attentive = attentive_accuracy(self.tokens(train), train_y, self.tokens(test), test_y, seed)
        return dict(zip(PROBES, (knn, linear, attentive), strict=True))

    def _features(self, images: np.ndarray) -> np.ndarray:
        if self.encoder is None:
            return images.reshape(len(images), -1).astype("float32") - 128  # the mean of every crop
        return self._of(self._mean, images)

    def tokens(self, images: np.ndarray) -> np.ndarray:
        """Patch tokens before the final norm, `(N, L, D)`; without an encoder the pixels of each patch."""
        if self.encoder is None:
            patch, count = images.shape[1] // 8, len(images)
            pixels = (images.astype("float32") - 128) / 50
            return pixels.reshape(count, 8, patch, 8, patch).transpose(0, 1, 3, 2, 4).reshape(count, 64, -1)
        return self._of(self._tokens, images)

    def _of(self, features: Features, images: np.ndarray) -> np.ndarray:
        return features(tf.data.Dataset.from_tensor_slices(images).batch(ENCODED))[0]


def attentive_accuracy(train_x, train_y, test_x, test_y, seed: int) -> float:
    """Test accuracy of attentive pooling and a linear layer, trained on tokens `(N, L, D)` of a fixed encoder."""
    keras.utils.set_random_seed(seed)
    mean, std = train_x.mean(axis=(0, 1)), train_x.std(axis=(0, 1)) + 1e-6
    train_x, test_x = ((x - mean) / std for x in (train_x, test_x))
    head = keras.Sequential(
        [AttentivePooling(min(_QUERIES, train_x.shape[-1])), keras.layers.Dense(int(train_y.max()) + 1)]
    )
    steps = _PROBE_EPOCHS * (len(train_x) // _PROBE_BATCH)
    head.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(_PROBE_RATE, steps), weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    head.fit(train_x, train_y, batch_size=_PROBE_BATCH, epochs=_PROBE_EPOCHS, verbose=0)
    return float(np.mean(head.predict(test_x, batch_size=500, verbose=0).argmax(axis=1) == test_y))

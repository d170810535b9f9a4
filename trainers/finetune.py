"""Fine-tuning: from an encoder and labelled images to a classifier and a run folder."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.data import Mixing, Source, TrainingData
from keras_mae.models import ImageClassifier
from keras_mae.one_writer import released
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.classifier_run import ClassifierData, train_classifier, with_validation
from keras_mae.trainers.encoder_choice import choose_encoder


def build(config: FinetuneConfig, num_classes: int) -> ImageClassifier:
    """The classifier of a config, before training.

    With mean pooling the last LayerNorm starts from gain 1 and bias 0, as in the paper: the encoder's was fitted to
    single tokens, not to their mean.
    """
    return _begin(config, num_classes)[0]


def _begin(config: FinetuneConfig, num_classes: int) -> tuple[ImageClassifier, dict[str, Any] | None]:
    """The classifier, and what `config.json` says of its first weights."""
    keras.utils.set_random_seed(config.run.seed)
    encoder, init = choose_encoder(config, config.encoder.drop_path_rate)
    if config.encoder.relative_position_bias is not None:
        encoder = encoder.with_relative_position_bias(config.encoder.relative_position_bias)
    if config.head.pooling == "mean":
        encoder.reset_final_norm()
    classifier = ImageClassifier(
        encoder,
        num_classes,
        config.head.pooling,
        config.head.num_trainable_layers,
        label_smoothing=0.0 if config.data.mixes else config.data.label_smoothing,  # mixing smooths them
        seed=config.run.seed,
        num_queries=config.head.num_queries,
        dtype=config.run.dtype_policy,
    )
    return classifier, init


@released()
def finetune(
    config: FinetuneConfig,
    data: str,
    output: str,
    resume: bool = False,
    overwrite: bool = False,
    strategy: str = "auto",
    tpu: str = "local",
) -> dict[str, Any]:
    """Trains a classifier, all of it or its last blocks, and fills a run folder.

    Args:
        config: of the run.
        data: a data specification with labels, see `keras_mae.data.open_source`.
        output: the run folder.
        resume: continue the run that is there.
        overwrite: discard the run that is there.
        strategy, tpu: the devices to train on, see `make_strategy`.

    Returns:
        The contents of `results.json`: accuracies and loss of the last epoch's model (`model.keras`) and of the best
        epoch's (`best.keras`) on the validation images, the accuracy of always answering with their largest class
        (`majority_share`) or five (`majority_share_top5`), numbers of images, classes, epochs and seconds.

    Raises:
        ValueError: for bad data or labels, an encoder or settings that do not fit, an output folder that is taken, or
            too many steps in a row that were not finite.
        OSError: if a file cannot be written.
        Preempted: after a SIGTERM, once the state is saved.
    """
    return train_classifier(_begin, prepared, config, data, output, resume, overwrite, strategy, tpu)


def prepared(classifier: ImageClassifier, config: FinetuneConfig, source: Source, validation: Source) -> ClassifierData:
    """The data of a classifier: images that are augmented and, if the config says so, mixed.

    Returns:
        Batches of uint8 images and int64 labels; mixed ones are float32 with soft labels `(B, num_classes)`.
    """
    data = config.data
    mixing = Mixing(classifier.num_classes, data.mixup, data.cutmix, data.label_smoothing)
    training = TrainingData(
        source,
        classifier.encoder.image_shape,
        config.optimizer.batch_size,
        config.run.seed,
        data.build(),
        (mixing,) if data.mixes else (),
        with_labels=True,
    )
    return with_validation(training, validation, data.crop_ratio, config.optimizer.batch_size)

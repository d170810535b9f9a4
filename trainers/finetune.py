"""Fine-tuning: from an encoder and labelled images to a head and a run folder."""

from __future__ import annotations

import logging
from typing import Any

import keras

from keras_mae.data import Mixing, Source, TrainingData
from keras_mae.data.source import NUMBERS
from keras_mae.models import ImageHead
from keras_mae.one_writer import released
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.classifier_run import ClassifierData, train_head, with_validation
from keras_mae.trainers.dtype_choice import with_dtype
from keras_mae.trainers.encoder_choice import choose_encoder
from keras_mae.trainers.tasks import Classes, Task, class_names

_log = logging.getLogger("keras_mae")


def build(config: FinetuneConfig, num_classes: int) -> ImageHead:
    """The classifier of a config with this number of classes, before training.

    With mean pooling the last LayerNorm starts from gain 1 and bias 0, as in the paper: the encoder's was fitted to
    single tokens, not to their mean.
    """
    return _begin(config, Classes(class_names([], num_classes)))[0]


def _begin(config: FinetuneConfig, task: Task) -> tuple[ImageHead, dict[str, Any] | None]:
    """The head, and what `config.json` says of its first weights."""
    config = with_dtype(config)
    keras.utils.set_random_seed(config.run.seed)
    encoder, init = choose_encoder(config, config.encoder.drop_path_rate)
    if config.encoder.relative_position_bias is not None:
        encoder = encoder.with_relative_position_bias(config.encoder.relative_position_bias)
    if config.head.pooling == "mean":
        encoder.reset_final_norm()
    head = task.head(
        encoder,
        0.0 if config.data.mixes else config.data.label_smoothing,  # mixing smooths them
        pooling=config.head.pooling,
        num_trainable_layers=config.head.num_trainable_layers,
        seed=config.run.seed,
        num_queries=config.head.num_queries,
        dtype=config.run.dtype_policy,
    )
    return head, init


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
    """Trains a head and its encoder, all of it or its last blocks, and fills a run folder.

    What the head learns is what the labels are: it is an `ImageClassifier` for classes and for several labels at once,
    and an `ImageRegressor` for numbers, which knows their mean and standard deviation.

    Args:
        config: of the run.
        data: a data specification with labels, see `keras_mae.data.open_source`.
        output: the run folder.
        resume: continue the run that is there.
        overwrite: discard the run that is there.
        strategy, tpu: the devices to train on, see `make_strategy`.

    Returns:
        The contents of `results.json`: measures and loss of the last epoch's model (`model.keras`) and of the best
        epoch's (`best.keras`) on the validation images, numbers of images, classes, labels or numbers, epochs and
        seconds, and `report`, the last model's, see `ClassificationReport`, `LabelReport` and `NumberReport`, whose
        tables and pictures are in the folder `report`. The measure by which the best epoch is chosen is the accuracy;
        the mean AUC of several labels, over all images, which `log.jsonl` has as `val_auc`; or the RMSE of normalised
        numbers. For classes there is also the accuracy of always answering with their largest class
        (`majority_share`) or five (`majority_share_top5`).

    Raises:
        ValueError: for bad data or labels, an encoder or settings that do not fit, an output folder that is taken, or
            too many steps in a row that were not finite.
        OSError: if a file cannot be written.
        Preempted: after a SIGTERM, once the state is saved.
    """
    return train_head(_begin, prepared, config, data, output, resume, overwrite, strategy, tpu)


def prepared(head: ImageHead, config: FinetuneConfig, source: Source, validation: Source) -> ClassifierData:
    """The data of a head: images that are augmented and, if the config says so, mixed.

    Returns:
        Batches of uint8 images and int64 labels `(B,)`, or float32 `(B, T)`; mixed ones are float32 with soft labels
        `(B, K)`.
    """
    data = config.data
    if source.task == NUMBERS and (data.crop_scale is not None or data.flip or data.rand_augment is not None):
        _log.info(
            "images are cropped, mirrored or distorted at random, and their numbers stay as they are: where a number "
            "says how large something is, where, or which way it points, type --set crop_scale=None --set flip=False "
            "--set rand_augment=None"
        )
    mixing = (Mixing(head.num_classes, data.mixup, data.cutmix, data.label_smoothing),) if data.mixes else ()
    training = TrainingData(
        source,
        head.encoder.image_shape,
        config.optimizer.batch_size,
        config.run.seed,
        data.build(),
        mixing,
        with_labels=True,
    )
    return with_validation(training, validation, data.crop_ratio, config.optimizer.batch_size)

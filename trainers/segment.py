"""Segmentation: from an encoder and images with masks to a segmenter and a run folder."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
import warnings
from typing import Any

import keras
import numpy as np

from keras_mae.data import CorruptImages, Source, TrainingData
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.seen import Seen
from keras_mae.data.segmentation import masked_dataset, whole_images
from keras_mae.models import ImageSegmenter
from keras_mae.models.saved_files import load_model_file
from keras_mae.one_writer import released
from keras_mae.trainers import run
from keras_mae.trainers.best_model import BestModel, Measure
from keras_mae.trainers.dtype_choice import with_dtype
from keras_mae.trainers.encoder_choice import choose_encoder, run_of, with_statistics_of
from keras_mae.trainers.labelled_data import check_channels
from keras_mae.trainers.loop import train
from keras_mae.trainers.mask_data import masked_sources
from keras_mae.trainers.pixel_report import PixelReport
from keras_mae.trainers.programs import begin, compile_model, save_finished, save_model, steps_per_epoch
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.segmentation_pictures import segmentation_picture
from keras_mae.trainers.strategy import on_chief
from keras_mae.trainers.trained_model import find_model, say_other_depth
from keras_mae.trainers.whole_segmentation import WholeSegmentation

_log = logging.getLogger("keras_mae")
_DRAWN = 8  # images


_MEASURE = Measure("mean_iou", "mean_iou")


def build(config: SegmentConfig, num_classes: int) -> ImageSegmenter:
    """The segmenter of a config, before training."""
    return _begin(config, num_classes)[0]


def _begin(config: SegmentConfig, num_classes: int) -> tuple[ImageSegmenter, dict[str, Any] | None]:
    """The segmenter, and what `config.json` says of its first weights."""
    config = with_dtype(config)
    keras.utils.set_random_seed(config.run.seed)
    encoder, init = choose_encoder(config, config.encoder.drop_path_rate)
    if config.encoder.relative_position_bias is not None:
        encoder = encoder.with_relative_position_bias(config.encoder.relative_position_bias)
    segmenter = ImageSegmenter(
        encoder,
        num_classes,
        config.head.design,
        num_trainable_layers=config.head.num_trainable_layers,
        seed=config.run.seed,
        dtype=config.run.dtype_policy,
    )
    return segmenter, init


def training_data(segmenter: ImageSegmenter, config: SegmentConfig, source: Source) -> TrainingData:
    """Images and masks to train on, augmented together."""
    pixels = getattr(segmenter.encoder, "normalize_pixels", None)
    augmentation = config.data.build(None if pixels is None else tuple(pixels.mean))
    shape = segmenter.encoder.image_shape
    return TrainingData(source, shape, config.optimizer.batch_size, config.run.seed, augmentation)


@released()
def segment(
    config: SegmentConfig,
    data: str,
    output: str,
    resume: bool = False,
    overwrite: bool = False,
    strategy: str = "auto",
    tpu: str = "local",
) -> dict[str, Any]:
    """Trains a segmenter, all of it or its last blocks, and fills a run folder.

    Each epoch is tested on the validation images, resized to the model's size; so `best.keras` is chosen. In the end
    `model.keras` and `best.keras` are tested on whole images, see `WholeSegmentation`, against masks of their own size.

    Args:
        config: of the run.
        data: a data specification with masks, see `keras_mae.data.open_source`.
        output: the run folder.
        resume, overwrite, strategy, tpu: as for `finetune`.

    Returns:
        The contents of `results.json`: see `PixelReport.results`, on the whole validation images, for the last epoch's
        model (`model.keras`), and under `best` for the best epoch's; numbers of images, classes, epochs and seconds.

    Raises:
        ValueError: for bad data or masks, an encoder or settings that do not fit, an output folder that is taken, or
            too many steps in a row that were not finite.
        OSError: if a file cannot be written.
        Preempted: after a SIGTERM, once the state is saved.
    """
    config, scope = begin(config, data, output, strategy, tpu, resume)
    folder = run.RunFolder(output)
    source, validation, names = masked_sources(config, data)
    steps = steps_per_epoch(config, source.num_images)
    trained = None if (own_run := run_of(config.encoder)) is None else find_model(own_run)
    if trained is not None:
        say_other_depth(trained, source)
    config = with_statistics_of(config, source, folder, resume)
    with scope.scope():
        segmenter, init = _begin(config, len(names))
        for each in (source, validation):
            check_channels(each, segmenter.encoder.image_shape[-1], settable=trained is None)
        compile_model(segmenter, config, steps)
    training, start = training_data(segmenter, config, source), time.perf_counter()
    corrupt = (training.corrupt, CorruptImages(validation))
    together = min(config.optimizer.batch_size, validation.num_images)
    tested = masked_dataset(validation, segmenter.encoder.image_shape, together, corrupt[1])
    loaded = None if config.encoder.run is None else find_model(config.encoder.run).path
    on_chief(scope, lambda: folder.start(config, data, resume, overwrite, Seen(source, validation), loaded, init))
    best = BestModel(
        lambda: on_chief(scope, lambda: save_model(segmenter, folder, run.BEST)),
        folder / run.LOG, config.optimizer.stop_after, _MEASURE,
    )  # fmt: skip

    def announce(done: int) -> None:
        segmenter.stop_training = best.start(done // steps)
        _log.info(
            "%d images with masks of %d classes, %d steps an epoch, %d epochs%s; %s parameters, %s of them trained; "
            "peak learning rate %.3g; tested on %d images",
            source.num_images,
            len(names),
            steps,
            config.optimizer.epochs,
            f", resumed after {done} of {config.optimizer.epochs * steps} steps" if done else "",
            f"{segmenter.count_params():,}",
            f"{sum(int(np.prod(v.shape)) for v in segmenter.trainable_variables):,}",
            config.optimizer.peak_learning_rate,
            validation.num_images,
        )

    with warnings.catch_warnings():
        # Keras warns that the data ran out if not all validation images can be decoded
        warnings.filterwarnings("ignore", "Your input ran out of data")
        train(
            segmenter, config, training, folder, steps, corrupt, resume,
            everywhere=[best], on_start=announce, validation_data=tested,
        )  # fmt: skip
        with storage_errors():
            last = segmenter.evaluate(tested, verbose=0, return_dict=True)
    save_finished(segmenter, folder, corrupt)
    results: dict[str, Any] = {}

    def test() -> None:
        results.update(_tested(folder, validation, names, config, corrupt[1], best, float(last["loss"])))
        results.update(
            epochs=int(segmenter.batches_seen) // steps,
            num_classes=len(names),
            train_images=source.num_images,
            validation_images=validation.num_images,
            seconds=round(time.perf_counter() - start, 1),
        )
        folder.write_json(run.RESULTS, results)

    on_chief(scope, test)
    return results


def _tested(
    folder: run.RunFolder,
    validation: Source,
    names: list[str],
    config: SegmentConfig,
    corrupt: CorruptImages,
    best: BestModel,
    loss: float,
) -> dict[str, Any]:
    """Tests the two models of a run on whole images, and draws those of the last one."""
    record: dict[str, Any] = {"program": config.program, "loss": round(loss, 6), "evaluation": config.data.evaluation}
    pictures = folder / run.SEGMENTATIONS
    shutil.rmtree(pictures, ignore_errors=True)  # of the run before it was resumed
    if math.isfinite(loss):
        report = measure(load_model_file(folder / run.MODEL), validation, names, config, corrupt, pictures)
        record |= report.results()
    else:
        _log.warning("the last model's loss on the images to test on is not finite: it is not tested on whole images")
    record["best"] = None
    if best.epoch and math.isfinite(best.result[_MEASURE.name]):
        report = measure(load_model_file(folder / run.BEST), validation, names, config, corrupt)
        record["best"] = {"epoch": best.epoch, "loss": best.result["loss"], **report.results()}
    return record


def measure(
    segmenter: ImageSegmenter,
    source: Source,
    class_names: list[str],
    config: SegmentConfig,
    corrupt: CorruptImages,
    pictures: str | None = None,
) -> PixelReport:
    """Compares a segmenter with the masks of whole images, see `WholeSegmentation`.

    Args:
        segmenter: the model.
        source: images with masks.
        class_names: of its classes.
        config: the run's; its `evaluation` applies.
        corrupt: the account of the images that cannot be used, which are left out.
        pictures: a folder for pictures of the first images; None draws none.
    """
    report, whole = PixelReport(class_names), WholeSegmentation(segmenter, config.data.evaluation)
    for image in whole_images(source, segmenter.encoder.image_shape[-1], corrupt):
        predicted = whole(image.image)
        if image.mask is not None:
            report.add(image.mask, predicted)
        if pictures is not None and report.num_images <= _DRAWN:
            os.makedirs(pictures, exist_ok=True)
            picture = segmentation_picture(image.image, image.mask, predicted, class_names)
            picture.save(os.path.join(pictures, f"{image.number:05}.png"), optimize=True)
    corrupt.check()
    return report

"""The classes of all pixels of a source's images, as PNG files, and a report if they have masks."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from keras_mae.data import CorruptImages, FolderSource, Source, Subset, open_source
from keras_mae.data.masks import IGNORED
from keras_mae.data.segmentation import whole_images
from keras_mae.models import ImageSegmenter
from keras_mae.models.saved_files import load_model_file
from keras_mae.progress import images_bar
from keras_mae.trainers import run
from keras_mae.trainers.class_labels import classes_of
from keras_mae.trainers.labelled_data import check_channels
from keras_mae.trainers.mask_folder import REPORT, check_folder
from keras_mae.trainers.pixel_report import PixelReport
from keras_mae.trainers.predict import say_if_seen
from keras_mae.trainers.segment_config import SegmentConfig, SegmentData
from keras_mae.trainers.segmentation_pictures import class_colours
from keras_mae.trainers.trained_model import find_model, read_as_trained, say_if_outside
from keras_mae.trainers.whole_segmentation import WholeSegmentation

_log = logging.getLogger("keras_mae")


def predict_masks(
    run_path: str,
    data: str,
    output: str,
    split: str | None = None,
    batch_size: int = 8,
    overwrite: bool = False,
    as_served: Callable[[Any], Any] = lambda model: model,
) -> dict[str, Any]:
    """Writes a mask for each image, at the image's size, and a report.

    A mask is a PNG with a palette, the colours of the run's pictures, or with more than 256 classes one of 16 bits. Its
    numbers are those of the masks that the run was trained on. It has the path and the name of its image in the folder
    of the images, with the ending `.png`, or the image's number, so that `pairs:IMAGES,OUTPUT` reads both. Images that
    cannot be used have none.

    Args:
        run_path: the folder of a run of `keras-mae segment`, or one of its `.keras` files.
        data: a data specification, with masks or without, see `keras_mae.data.open_source`.
        output: the folder to write, see `check_folder`. It appears when it is complete.
        split: `"train"` or `"validation"`, as for `open_source`.
        batch_size: windows that are computed together.
        overwrite: replace predictions that are there.
        as_served: makes the model that computes of the one that was trained, such as a copy in another dtype.

    Returns:
        The contents of `report.json`: run and data; `images` and `skipped`, the number of the masks and the names of
        images without one; `classes`, their names by the numbers in the masks; and `report`, see `PixelReport.results`,
        None without masks.

    Raises:
        ValueError: if there is no segmenter, the images do not fit it, too many of them are corrupt, logits are not
            finite, or the output is there.
    """
    check_folder(output, overwrite)
    trained = find_model(run_path, run.MODEL)
    model = load_model_file(trained.path)
    if not isinstance(model, ImageSegmenter):
        raise ValueError(f"{trained.path} holds {type(model).__name__}, and masks need an ImageSegmenter")
    own = trained.config.data if isinstance(trained.config, SegmentConfig) else SegmentData()
    names, first = classes_of(trained, model.num_classes), int(own.reduce_zero_label)
    say_if_outside(trained, f"images are segmented by {own.evaluation}, and classes are numbers")
    source = open_source(data, split, trained.decoding)
    read_as_trained(trained.seen.get("dtype"), trained.path, source)
    check_channels(source, model.encoder.image_shape[-1])
    if source.masked:
        source.masks = type(source.masks)(own.ignore_index, own.reduce_zero_label)  # others are left out of the report
    say_if_seen(trained, data, split)
    corrupt, paths = CorruptImages(source), mask_names(source)
    report = PixelReport(names) if source.masked else None
    whole = WholeSegmentation(as_served(model), own.evaluation, batch_size)
    parent, count, unknown, bar = os.path.dirname(os.path.abspath(output)), 0, 0, None
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".predict-", dir=parent) as aside:
        made = os.path.join(aside, "masks")
        os.makedirs(made)
        try:
            for image in whole_images(source, model.encoder.image_shape[-1], corrupt):
                predicted = whole(image.image)
                path = os.path.join(made, paths[image.number])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                as_mask(predicted + first, len(names) + first).save(path)
                if report is not None and image.mask is not None:
                    others = image.mask >= model.num_classes
                    unknown += int(others.any())
                    report.add(np.where(others, IGNORED, image.mask), predicted)
                count += 1
                bar = bar or images_bar(source.num_images, 1, "segmented")
                if count > 1:
                    bar.update(1)
                corrupt.check()
        finally:
            if bar is not None:
                bar.close()
        corrupt.check()
        skipped = sorted(corrupt.names)
        if skipped:
            _log.warning("%s: they have no mask, and are listed in %s", corrupt.summary(), REPORT)
        if unknown:
            _log.warning(
                "%d masks hold numbers beyond the %d classes, whose pixels are left out of the report",
                unknown,
                len(names),
            )
        labelled = report is not None and report.confusions.any()
        results = {
            "run": trained.path,
            "data": data,
            "split": split,
            "images": count,
            "skipped": [source.name_inside(index) for index in skipped],
            "classes": {str(number + first): name for number, name in enumerate(names)},
            "report": report.results() if report is not None and labelled else None,
        }
        with open(os.path.join(made, REPORT), "w", encoding="utf-8") as file:
            file.write(json.dumps(results, indent=2) + "\n")
        check_folder(output, overwrite)  # once more: another process may have written it
        if os.path.isdir(output):
            shutil.rmtree(output)
        os.rename(made, output)
    return results


def as_mask(numbers: np.ndarray, count: int) -> Image.Image:
    """Numbers below `count`, integers `(H, W)`, as an image with a palette, or of 16 bits if there are over 256."""
    if count > 256:
        return Image.fromarray(numbers.astype("uint16"))
    mask = Image.fromarray(numbers.astype("uint8"))
    mask.putpalette(class_colours(count).tobytes())  # makes levels indices
    return mask


def mask_names(source: Source) -> list[str]:
    """The path of each image's mask in the folder of masks."""
    folder, indices = source, np.arange(source.num_images)
    while isinstance(folder, Subset):
        indices, folder = folder.indices[indices], folder.source
    if not isinstance(folder, FolderSource):
        return [f"{index:06}.png" for index in indices.tolist()]
    names = [folder.relative_name(index) for index in indices.tolist()]
    stems = [os.path.splitext(name)[0] for name in names]
    whole = names if len(set(stems)) < len(stems) else stems  # a.jpg beside a.png
    return [f"{name}.png" for name in whole]

"""Small pictures of the images that vectors belong to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mae.data import Decoding, Source, open_source
from keras_mae.data.corrupt_images import usable
from keras_mae.data.display import Display
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.pipeline import batches_at
from keras_mae.data.seen import Seen

_TOGETHER = 256  # images
_QUALITY = 85  # of the JPEG


def thumbnails(header: dict[str, Any], index: np.ndarray, side: int = 64) -> list[bytes | None]:
    """Reads images and shrinks them: the largest square in the centre of each, in 8 bits, gray or in colour.

    Images of 16 bits, and those of other than one or three channels, are shown as `keras_mae.data.display` does.

    Args:
        header: of the vectors, see `Vectors`: its `data`, `decoding` and `image_shape` say how images are read.
        index: of the images in the source, int64 `(n,)`, in any order.
        side: height and width of a thumbnail in pixels.

    Returns:
        A JPEG file's bytes for each index; None for an image that cannot be read or decoded.

    Raises:
        ValueError: if the data are not there any more, or have changed.
        OSError: if their storage fails.
    """
    source = source_of(header)
    index = np.asarray(index, "int64").reshape(-1)
    if not len(index):
        return []
    if index.min() < 0 or index.max() >= source.num_images:
        raise ValueError(
            f"images are numbered from 0 to {source.num_images - 1}, got {index.min()} to {index.max()}: the index is "
            "that of other data"
        )
    channels = int(header["image_shape"][-1])
    found: list[bytes | None] = []
    display: Display | None = None
    for images, good in _read(source, index, (side, side, channels)):
        if images.dtype == np.uint16:
            images = images / np.float32(257)
        if channels > 3:  # the colours are the same in all thumbnails
            display = display or (Display(images[good]) if good.any() else None)
            shown = images if display is None else display(images)
        else:
            shown = images if images.dtype == np.uint8 and channels != 2 else Display(images)(images)
        found += [_jpeg(image) if one else None for image, one in zip(shown, good)]
    return found


def source_of(header: dict[str, Any]) -> Source:
    """Opens the source that the vectors with this header were made of.

    Raises:
        ValueError: if it is not there any more, or has changed: the vectors' `index` would be that of other images.
    """
    lacking = [name for name in ("data", "image_shape") if not header.get(name)]
    if lacking:
        raise ValueError(f"the header of the vectors has no {lacking[0]}: it does not tell where their images are")
    decoding = Decoding(**header["decoding"]) if header.get("decoding") else Decoding()
    data = str(header["data"]).removeprefix("memory:")
    try:
        source = open_source(data, header.get("split"), decoding)
    except OSError as error:
        raise ValueError(f"the images of the vectors, {data}, cannot be read: {error}") from error
    if source.encoded and header.get("pixel_dtype"):
        source.dtype = header["pixel_dtype"]  # as the files were read
    known = header.get("num_images", source.num_images), header.get("data_digest")
    now = Seen(source).summary["digest"] if known[1] else None
    if known != (source.num_images, now):
        what = "are others now" if known[0] == source.num_images else f"were {known[0]}, and are {source.num_images}"
        raise ValueError(f"the images of the vectors, {data}, {what}: embed them anew")
    return source


def _read(
    source: Source, index: np.ndarray, image_shape: tuple[int, int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images, `(n, *image_shape)` of the source's dtype, in the order of `index`, and which could be read."""
    batches = batches_at(source, image_shape, _TOGETHER, 1.0, lambda position: tf.gather(index, position), len(index))
    with storage_errors():
        for batch in batches:
            images = batch["image"].numpy()
            yield images, usable(batch["fault"].numpy() if "fault" in batch else np.full(len(images), -1))


def _jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()

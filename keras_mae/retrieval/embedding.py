"""Embeds all images of a source, and continues where it was interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tqdm.auto import tqdm

from keras_mae.data.corrupt_images import CorruptImages, Fault, usable
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.pipeline import batches_at
from keras_mae.data.samples import look_at_some
from keras_mae.data.seen import Seen
from keras_mae.data.source import Source
from keras_mae.encoders.finite import check_finite
from keras_mae.one_writer import released
from keras_mae.progress import images_bar
from keras_mae.retrieval.embedder import Embedder
from keras_mae.retrieval.outputs import check_output
from keras_mae.retrieval.shards import Shards
from keras_mae.retrieval.vectors import open_vectors

_log = logging.getLogger("keras_mae")
_IN_A_SHARD = 1024  # images, about: whole batches


class Interrupted(Exception):
    """The process was asked to end; what is done stays."""


class Embedded(NamedTuple):
    """What `embed_source` has done.

    Attributes:
        num_vectors: in the output.
        num_images: in the source.
        dim: of a vector.
        corrupt_list: the file that names the images that are left out, if there are any.
        was_there: whether the output was there before.
    """

    num_vectors: int
    num_images: int
    dim: int
    corrupt_list: str
    was_there: bool = False


@released()
def embed_source(
    embedder: Embedder,
    source: Source,
    output: str,
    header: dict[str, Any],
    batch_size: int = 64,
    overwrite: bool = False,
    function: Callable[[tf.Tensor], tf.Tensor] | None = None,
    is_asked_to_end: Callable[[], bool] = lambda: False,
) -> Embedded:
    """Writes the vector of every image of a source, in the source's order, into a file or a folder of shards.

    Shards for fixed ranges of images lie in `OUTPUT.shards` until all are there. If the process ends in any way, the
    next one with the same arguments continues with the missing ones, and the bytes are the same. Each batch has fixed
    images and a fixed shape: a corrupt image shifts nothing, and is listed in `OUTPUT.corrupt.txt`.

    Args:
        embedder: what turns images into vectors.
        source: the images; files are decoded to its `dtype`.
        output: ends in `.parquet` or `.npz`, or is a folder.
        header: what the header of the vectors says of `weights`, `data` and `dtype`; the rest is added.
        batch_size: images that are encoded together.
        overwrite: embed all images anew; vectors that are there stay until the new ones replace them.
        function: the embedder's function on the devices of a strategy, see `on_replicas`; its own if None.
        is_asked_to_end: asked after each batch.

    Raises:
        ValueError: if the output holds something else or other vectors, another process writes there, more than 1 % of
            the images are corrupt, or vectors are not finite.
        OSError: if the output cannot be written, or the storage of the images fails.
        Interrupted: if it was asked to end; a `KeyboardInterrupt` tells the same.
    """
    check_output(output)
    if batch_size < 1:
        raise ValueError(f"a batch holds at least 1 image, got batch_size={batch_size}")
    batch_size = min(batch_size, source.num_images)
    header = {
        **header,
        **embedder.described(),
        "dim": embedder.dim(source.dtype),
        "decoding": dataclasses.asdict(source.decoding),
        "pixel_dtype": source.dtype,
        "num_images": source.num_images,
        "data_digest": Seen(source).summary["digest"],
        "class_names": list(source.class_names),
    }
    header = json.loads(json.dumps(header))  # as it is read back
    shard_size = max(1, _IN_A_SHARD // batch_size) * batch_size
    shards = Shards(output.rstrip("/"), header, source.num_images, batch_size, shard_size)
    if not overwrite and not shards.is_begun() and shards.is_finished():
        return _result(shards, was_there=True)
    shards.claim()
    try:
        if overwrite:
            shards.start_afresh()
        elif not shards.is_begun() and shards.is_finished():  # another process has finished it in between
            return _result(shards, was_there=True)
        work = _Work(shards, source, embedder, function or embedder.function, is_asked_to_end)
        work.run()
        left_out = [each for number in range(shards.count) for each in work.left_out[number]]
        shards.finish([(source.name_inside(index), fault) for index, fault in left_out])
        return _result(shards)
    finally:
        shards.tidy()


def _result(shards: Shards, was_there: bool = False) -> Embedded:
    count = len(open_vectors(shards.output))
    return Embedded(count, shards.num_images, shards.header["dim"], shards.corrupt_list, was_there)


class _Block(NamedTuple):
    """The vectors of a batch of n images.

    Attributes:
        indices: of the images, int64 `(n,)`.
        good: which of them could be used, bool `(n,)`.
        label: int64 `(n,)`, -1 without.
        vectors: `(n, D)` in the dtype of the file.
        faults: the images that could not be used, and why.
    """

    indices: np.ndarray
    good: np.ndarray
    label: np.ndarray
    vectors: np.ndarray
    faults: list[tuple[int, Fault]]


class _Work:
    """Makes the shards that are missing.

    Attributes:
        left_out: for each shard that is there, the images without a vector, by index, and their faults.
    """

    def __init__(self, shards: Shards, source: Source, embedder: Embedder, function: Callable, is_asked_to_end) -> None:
        self._shards, self._source, self._embedder, self._function = shards, source, embedder, function
        self._is_asked_to_end = is_asked_to_end
        self.left_out = shards.found()
        self._corrupt = CorruptImages(source)
        for index, fault in (each for one in self.left_out.values() for each in one):
            self._corrupt.report(index, fault)

    def run(self) -> None:
        """Makes the shards that are missing."""
        missing = [number for number in range(self._shards.count) if number not in self.left_out]
        if self.left_out:
            _log.info("%s: continues after %d of %d images", self._shards.folder, self._done(), self._source.num_images)
        if not missing:
            return
        look_at_some(self._source, self._embedder.image_shape[-1], self._corrupt)
        try:
            with storage_errors():
                self._make(missing)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted: {self._state()}") from None
        except Interrupted:
            raise Interrupted(self._state()) from None
        except OSError as error:
            raise OSError(f"{' '.join(str(error).split())}; {self._state()}") from error

    def _done(self) -> int:
        """The number of images in the shards that are there."""
        return sum(map(self._shards.images_in, self.left_out))

    def _state(self) -> str:
        return (
            f"{self._done()} of {self._source.num_images} images are embedded, in {self._shards.folder}; the same "
            "command without --overwrite continues"
        )

    def _make(self, missing: list[int]) -> None:
        blocks = self._blocks(missing)
        with ThreadPoolExecutor(1) as thread, contextlib.ExitStack() as stack:
            bar: tqdm | None = None
            done = self._done()
            writing: Future | None = None
            for number in missing:
                shard: list[_Block] = []
                while sum(len(block.indices) for block in shard) < self._shards.images_in(number):
                    shard.append(next(blocks))
                    done += len(shard[-1].indices)
                    if bar is None:  # the first batch is compiled, which would distort the rate
                        bar = stack.enter_context(images_bar(self._source.num_images, done, "embedded"))
                    else:
                        bar.update(len(shard[-1].indices))
                    if self._is_asked_to_end():
                        raise Interrupted
                if writing is not None:
                    writing.result()
                self._corrupt.check()
                writing = thread.submit(self._write, number, shard)
            if writing is not None:
                writing.result()

    def _blocks(self, missing: list[int]) -> Iterator[_Block]:
        """Yields the vectors of each batch, while the next one is on its way."""
        size, numbers = self._shards.size, np.array(missing, "int64")
        count = sum(map(self._shards.images_in, missing))
        batches = batches_at(
            self._source,
            self._embedder.image_shape,
            self._shards.batch_size,
            self._embedder.crop_ratio,
            lambda position: tf.gather(numbers, position // size) * size + position % size,
            count,
        )
        first = 0
        before: tuple[np.ndarray, dict, tf.Tensor] | None = None
        for batch in batches:
            positions = np.arange(first, first + len(batch["label"]))
            first += len(positions)
            index = numbers[positions // size] * size + positions % size
            lacking = self._shards.batch_size - len(positions)
            images = tf.pad(batch["image"], [[0, lacking], [0, 0], [0, 0], [0, 0]]) if lacking else batch["image"]
            now = (index, batch, self._function(images))
            if before is not None:
                yield self._block(*before)
            before = now
        if before is not None:
            yield self._block(*before)

    def _block(self, index: np.ndarray, batch: dict[str, tf.Tensor], vectors: tf.Tensor) -> _Block:
        codes = batch["fault"].numpy() if "fault" in batch else np.full(len(index), -1)
        good = usable(codes)
        for image, fault in CorruptImages.faults_in(codes):
            self._corrupt.report(image, fault)
        faults = [each for each in CorruptImages.faults_in(codes) if each[1] is not Fault.LATE]
        found = vectors.numpy()[: len(index)]
        return _Block(index, good, batch["label"].numpy(), self._checked(found, good), faults)

    def _checked(self, found: np.ndarray, good: np.ndarray) -> np.ndarray:
        """The vectors in the dtype of the file; a `ValueError` if they are not finite."""
        check_finite(found[good], self._embedder.compute_dtype)
        with np.errstate(over="ignore"):
            stored = found.astype(self._shards.header["dtype"], copy=False)
        if not np.isfinite(stored[good]).all():
            raise ValueError(
                f"a number of a vector is {np.abs(found[good]).max():.3g}, and float16 holds up to 65504: leave out "
                "--dtype=float16, or give --normalize"
            )
        return stored

    def _write(self, number: int, shard: list[_Block]) -> None:
        good = np.concatenate([block.good for block in shard])
        index = np.concatenate([block.indices for block in shard])[good]
        label = np.concatenate([block.label for block in shard])[good] if self._source.labelled else None
        vectors = np.concatenate([block.vectors for block in shard])[good]
        faults = [each for block in shard for each in block.faults]
        names = [self._source.name_inside(one) for one in index.tolist()]
        self._shards.write(number, names, index, label, vectors, faults)
        self.left_out[number] = faults

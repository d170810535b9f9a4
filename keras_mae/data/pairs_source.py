"""Folders of image files and of their masks."""

from __future__ import annotations

import logging
import os

import tensorflow as tf

from keras_mae.data.folder_source import FolderSource
from keras_mae.data.patient_reading import exists
from keras_mae.data.samples import why_no_pair
from keras_mae.data.source import Source
from keras_mae.data.split_folders import split_folders
from keras_mae.data.splits import split_source

_log = logging.getLogger("keras_mae")
_NAMED = 3


class PairsSource(FolderSource):
    """Image files below a folder, each with a mask of the same path and name, but for the ending, below another.

    Images without a mask are left out, and so are masks without an image; the log counts both. A mask that is no mask
    of its image, as it cannot be decoded, is of another size or holds a number beyond the classes, is like a corrupt
    image: it is skipped, named and counted. Subfolders are no classes.

    Args:
        images: the folder of the images; anything that `tf.io.gfile` reads.
        masks: the folder of the masks, PNG files of gray levels or palettes, see `decode_mask`.

    Attributes:
        masks_path: the folder of the masks.
        mask_paths: of the masks, in the order of the images.
    """

    masked = True

    def __init__(self, images: str, masks: str) -> None:
        if os.path.normpath(images) == os.path.normpath(masks):
            raise ValueError(f"pairs:{images},{masks}: images and masks lie in two folders, this is one")
        super().__init__(images)
        found = FolderSource(masks)
        self.masks_path = found.path
        if masks.startswith(os.path.join(self.path, "")):  # masks below the images are no images
            of_masks = set(found.paths)
            self._keep([number for number, path in enumerate(self.paths) if path not in of_masks])
        self.class_names, self._labels = [], None
        of_image = self._by_stem(self)
        of_mask = self._by_stem(found, ".png")
        if not of_mask:
            raise ValueError(f"pairs: masks are PNG files, and {masks} holds none, but files such as {found.paths[0]}")
        both = sorted((of_image[stem], of_mask[stem]) for stem in of_image.keys() & of_mask.keys())
        if not both:
            raise ValueError(
                f"pairs: no image has a mask: a mask has the path and name of its image, with the ending .png; the "
                f"images are such as {self.relative_name(0)}, the masks such as {found.relative_name(0)}"
            )
        for kind, here, there in (("image", of_image, of_mask), ("mask", of_mask, of_image)):
            alone = sorted(here.keys() - there.keys())
            if alone:
                shown = ", ".join(alone[:_NAMED]) + (", ..." if len(alone) > _NAMED else "")
                other = "a mask" if kind == "image" else "an image"
                _log.warning("left out, without %s: %d of %d %ss: %s", other, len(alone), len(here), kind, shown)
        self._keep([image for image, _ in both])
        self.mask_paths = [found.paths[mask] for _, mask in both]
        self._mask_table = tf.constant([os.fsencode(path) for path in self.mask_paths])

    def read(self, index) -> dict[str, tf.Tensor]:
        return {**super().read(index), "mask": tf.io.read_file(self._mask_table[index])}

    def path_at(self, index) -> tf.Tensor:
        """Returns the path of the image's file, or of its mask's if that of the image is there."""
        path = super().path_at(index)
        return tf.where(exists(path), self._mask_table[index], path)

    def remedy(self, index: int) -> str:
        return super().remedy(index) or why_no_pair(self, index, self.mask_paths[index])

    def _keep(self, chosen: list[int]) -> None:
        self.paths = [self.paths[number] for number in chosen]
        self.num_images = len(self.paths)
        self._path_table = tf.constant([os.fsencode(file) for file in self.paths])

    @staticmethod
    def _by_stem(source: FolderSource, ending: str = "") -> dict[str, int]:
        """Returns the number of each file by its path below the folder without the ending."""
        found: dict[str, int] = {}
        for number in range(source.num_images):
            name = source.relative_name(number)
            if not name.lower().endswith(ending):
                continue
            stem = os.path.splitext(name)[0]
            if stem in found:
                raise ValueError(
                    f"pairs: {source.relative_name(found[stem])} and {name} in {source.path} have the same name but "
                    "for the ending, and so the same mask; rename one"
                )
            found[stem] = number
        return found


def open_pairs(rest: str, split: str | None) -> Source:
    """Opens what follows `pairs:` in a specification, see `open_source`."""
    images, masks = folders_of(rest)
    of_images, of_masks = split_folders(images), split_folders(masks)
    if bool(of_images) != bool(of_masks):
        having, lacking = (images, masks) if of_images else (masks, images)
        raise ValueError(f"pairs: {having} has folders to train and to test on, and {lacking} has not; give it both")
    if of_images is None or of_masks is None:
        source = PairsSource(images, masks)
        return source if split is None else split_source(source, split)
    number = int(split == "validation")
    pairs = PairsSource(of_images[number], of_masks[number])
    pairs.validation_apart = split != "validation"
    return pairs


def folders_of(rest: str) -> tuple[str, str]:
    """Splits what follows `pairs:` into the folders of the images and of the masks."""
    images, comma, masks = rest.partition(",")
    if not (images and masks) or "," in masks:
        raise ValueError(f"images and their masks are given as pairs:IMAGES,MASKS, two folders; got 'pairs:{rest}'")
    return images, masks

"""The quality of features without labels: effective rank, alignment and consistency of two crops."""

from __future__ import annotations

import math

import numpy as np

from keras_mae.data import Augmentation, CorruptImages, Source, evaluation_dataset
from keras_mae.data.views import two_views
from keras_mae.encoders import Encoder
from keras_mae.encoders.finite import check_finite
from keras_mae.trainers.features import Features, encoded_beside_training
from keras_mae.trainers.quality_measures import alignment, consistency, rankme
from keras_mae.trainers.training_parts import CroppedData


class UnlabelledQuality:
    """Measures an encoder's features, the mean of the patch tokens, by images without labels.

    `rankme` is the effective rank of the features of whole images. `alignment` and `consistency` compare the features
    of two random views of each image, see `keras_mae.trainers.quality_measures`. The views are drawn by the run's
    augmentation, always the same; where that crops nothing at random, by crops of 20 to 100 % of the area, as two equal
    views tell nothing.

    Args:
        encoder: whose present weights each call takes.
        source: the images.
        data: the run's augmentation and evaluation transform.

    Attributes:
        names: of the measures.
        encoded: the number of images that a call encodes, every view counted.
        corrupt: the accounts of corrupt images, which are left out.
    """

    names = ("rankme", "alignment", "consistency")

    def __init__(self, encoder: Encoder, source: Source, data: CroppedData) -> None:
        self._encoder, self._number = encoder, source.num_images
        self.encoded, self.corrupt = 3 * source.num_images, [CorruptImages(source, tolerated=1.0)]
        together, shape = min(encoded_beside_training(encoder), source.num_images), encoder.image_shape
        jitter = getattr(data, "jitter", 0.0)
        views = Augmentation(data.crop_scale or CroppedData.crop_scale, data.flip, data.crop_ratio, jitter)
        self._features = Features(encoder)
        self._whole = evaluation_dataset(source, shape, together, data.crop_ratio, self.corrupt[0])
        self._views = two_views(source, shape, max(1, together // 2), views, self.corrupt[0])

    def __call__(self) -> dict[str, float]:
        """The measures; NaN if fewer than two images can be decoded.

        Raises:
            ValueError: if features are not finite.
        """
        (whole, _), (views, _) = self._features(self._whole), self._features(self._views)
        if len(whole) < 2 or len(views) < 4:
            return dict.fromkeys(self.names, math.nan)
        check_finite(np.concatenate([whole, views]), self._encoder.dtype_policy.name)
        first, second = views[::2], views[1::2]
        return {
            "rankme": rankme(whole),
            "alignment": alignment(first, second),
            "consistency": consistency(first, second),
        }

    def described(self) -> str:
        """The images, for the log."""
        return f"effective rank, alignment and consistency of {self._number} images and two crops of each"

    def counts(self) -> dict[str, int]:
        """Numbers of images, for `results.json`."""
        return {"compared_images": self._number}

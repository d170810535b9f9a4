"""Principal components of patches as the target."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.layers.geometry import Geometry
from keras_mae.layers.pixel_range import checked_images
from keras_mae.targets.target import Target

_BATCH = 64


@keras.saving.register_keras_serializable(package="keras_mae")
class PCATarget(Target):
    """The coefficients of each patch in the basis of the patches' largest principal components.

    "We perform PCA in the patch space and predict the largest PCA coefficients": `(patch - mean) @ components`, where
    the components are the orthonormal eigenvectors of the covariance of normalised patches with the largest
    eigenvalues. `fit` learns the basis once from a sample of images (`keras-mae pretrain` calls it); the model's files
    hold it.

    Args:
        num_components: how many coefficients; at most `ph * pw * C`.

    Call arguments:
        images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].

    Returns:
        float32 `(B, L, num_components)`.

    Raises:
        ValueError: if a patch has fewer values than `num_components`, or `fit` was not called before.

    Reference: arXiv 2111.06377, Table 1d, "PCA"; section 5, "Reconstruction target".
    """

    needs_fit = True

    def __init__(self, num_components: int = 96, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_components = num_components

    def attach(self, geometry: Geometry) -> None:
        values = geometry.values_per_patch
        if not 1 <= self.num_components <= values:
            raise ValueError(
                f"a patch of {values} values has at least 1 and at most {values} principal components, got "
                f"num_components={self.num_components}"
            )
        super().attach(geometry)
        self.dim = self.num_components
        if not self.weights:
            fixed = {"initializer": "zeros", "dtype": "float32", "trainable": False}
            self.mean = self.add_weight(shape=(values,), name="mean", **fixed)
            self.components = self.add_weight(shape=(values, self.num_components), name="components", **fixed)
            self.built = True

    def fit(self, images) -> None:
        """Learns the basis; the largest entry of each component is positive.

        Args:
            images: a sample, `(N, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].

        Raises:
            ValueError: for other input than images, NaN or infinite values, or no more patches than components.
        """
        if isinstance(images, tf.data.Dataset):
            raise ValueError("a basis is learnt from one array of images, got a data set: pass some of its images")
        images = checked_images(images, self.geometry.image_shape)
        count, total, products = 0, 0.0, 0.0
        for begin in range(0, len(images), _BATCH):
            patches = self.geometry.normalized_patches(images[begin : begin + _BATCH])
            patches = np.reshape(patches, (-1, patches.shape[-1])).astype("float64")
            count, total, products = count + len(patches), total + patches.sum(axis=0), products + patches.T @ patches
        if count <= self.num_components:
            raise ValueError(
                f"{self.num_components} components need more patches than that, these {len(images)} images have {count}"
            )
        if not np.isfinite(products).all():
            raise ValueError("NaN or infinite values have no principal components: leave such images out")
        mean = total / count
        _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))  # by rising eigenvalue
        components = vectors[:, ::-1][:, : self.num_components]
        largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
        self.mean.assign(mean)
        self.components.assign(components * np.sign(largest))

    @property
    def is_fitted(self) -> bool:
        """Whether the basis is known, by `fit` or from a file: before, it is zero."""
        with tf.init_scope():  # the current value, also while a graph is traced
            return bool(np.any(keras.ops.convert_to_numpy(self.components)))

    def check_fitted(self) -> None:
        if not self.is_fitted:
            raise ValueError(
                "the principal components are not known yet: call target.fit(images) with a sample of the images"
            )

    def call(self, images):
        self.check_fitted()
        return tf.matmul(self.geometry.normalized_patches(images) - self.mean, self.components)

    def to_pixels(self, prediction, images) -> tf.Tensor:
        """The pixels of patches with these coefficients; the other components are 0."""
        patches = tf.matmul(tf.cast(prediction, tf.float32), self.components, transpose_b=True) + self.mean
        return self.geometry.levels(patches)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_components": self.num_components}

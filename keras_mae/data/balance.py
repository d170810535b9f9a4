"""What makes up for rare classes: weights of the loss, or images that are repeated."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weights inverse to the frequency of a class, whose mean over the images is 1.

    `w_k = N / (C n_k)`, of N images and C classes that have images, `n_k` of them of class k; a class without images
    has the weight 0.

    Args:
        labels: int64 `(N,)`.
        num_classes: `K`.

    Returns:
        float32 `(K,)`.
    """
    counts = np.bincount(labels, minlength=num_classes)
    there = counts > 0
    weights = np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 0)
    return weights.astype("float32")


def balanced_indices(labels: np.ndarray, seed: int) -> np.ndarray:
    """The indices of images of which every class has as many as the largest one: those of smaller ones are repeated.

    An image is there as often as another one of its class, or once more.

    Args:
        labels: int64 `(N,)`.
        seed: of the choice of those that are there once more.

    Returns:
        int64 `(C M,)`, of C classes that have images, M of them of the largest class.
    """
    draw, most = np.random.RandomState(seed), np.bincount(labels).max()
    chosen = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        chosen += [own] * (most // len(own)) + [draw.permutation(own)[: most % len(own)]]
    return np.concatenate(chosen)


def weighted(batches: tf.data.Dataset, weights: np.ndarray) -> tf.data.Dataset:
    """Adds the field `weight`, float32 `(B,)`, to batches of named fields.

    It is the weight of the label's class. Of mixed or smoothed labels `y`, `(B, K)`, it is `w = sum_k w_k y_k`, and the
    label becomes `w_k y_k / w`, so that the weighted cross-entropy is `-sum_k w_k y_k log p_k`, as in PyTorch.

    Args:
        batches: fields of B images, `label` among them, int64 `(B,)` or float32 `(B, K)`.
        weights: of the classes, float32 `(K,)`.
    """

    def weigh(batch):
        label = batch["label"]
        if label.dtype.is_integer:
            return {**batch, "weight": tf.gather(tf.constant(weights), label)}
        shares = label * tf.constant(weights)
        weight = tf.reduce_sum(shares, axis=-1)
        return {**batch, "label": shares / weight[:, None], "weight": weight}

    return batches.map(weigh)

"""Losses of pretraining: the error of a prediction of the masked patches, one number for a batch."""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf

from keras_mae import _backend  # noqa: F401
from keras_mae.layers.geometry import Geometry

_EPSILON = 1e-5


class MaskedLoss(abc.ABC):
    """The error of a prediction over the masked patches. Subclasses implement `__call__`.

    Attributes:
        takes_tokens: whether the target is one integer a patch, and the prediction the logits of all integers.
    """

    takes_tokens = False

    def attach(self, geometry: Geometry) -> None:
        """Sets the sizes of a model, which calls this once; most losses need none."""

    @abc.abstractmethod
    def __call__(self, target, prediction) -> tf.Tensor:
        """The loss, a float32 scalar; 0 without any patch.

        Args:
            target: of the masked patches, float32 `(B, N, dim)` or int `(B, N)`.
            prediction: `(B, N, dim)`.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedLoss:
        """The inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskedMeanSquaredError(MaskedLoss):
    """The mean squared error over the values of the masked patches: MAE's loss.

    Reference: arXiv 2111.06377, section 3, "Reconstruction target".
    """

    def __call__(self, target, prediction) -> tf.Tensor:
        return _mean(tf.reduce_mean(tf.square(_difference(target, prediction)), axis=-1))


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskedL1(MaskedLoss):
    """SimMIM's loss, `sum(|x - y| * mask) / (sum(mask) + 1e-5) / C`, where the mask has one number a pixel.

    Reference: arXiv 2111.09886, section 3.4; its code divides as above.
    """

    _channels: int | None = None

    def attach(self, geometry: Geometry) -> None:
        channels = geometry.image_shape[-1]
        if self._channels not in (None, channels):
            raise ValueError(
                f"this loss belongs to a model of {self._channels} channels, and cannot serve one of {channels}; make "
                "another loss"
            )
        self._channels = channels

    def __call__(self, target, prediction) -> tf.Tensor:
        if self._channels is None:
            raise ValueError("a MaskedL1 divides by the number of channels: pass it to a model, or call attach")
        error = tf.abs(_difference(target, prediction))  # (B, N, dim)
        num_pixels = tf.cast(tf.size(error), tf.float32) / self._channels
        return tf.reduce_sum(error) / (num_pixels + _EPSILON) / self._channels


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskedCrossEntropy(MaskedLoss):
    """The cross-entropy of the tokens of masked patches, averaged over the patches: BEiT's loss.

    Reference: arXiv 2106.08254, equation 2.
    """

    takes_tokens = True

    def __call__(self, target, prediction) -> tf.Tensor:
        return _mean(tf.nn.sparse_softmax_cross_entropy_with_logits(target, tf.cast(prediction, tf.float32)))


def chosen_loss(loss: MaskedLoss | None, default: type[MaskedLoss], target) -> MaskedLoss:
    """The given loss; for None the default, or the cross-entropy for a target of tokens.

    Raises:
        ValueError: if the loss does not fit the target.
    """
    if hasattr(target, "loss"):
        raise ValueError(
            f"{type(target).__name__} has a method `loss`, which is not used: make it a MaskedLoss and pass it as loss="
        )
    if loss is None:
        loss = MaskedCrossEntropy() if target.gives_tokens else default()
    if not isinstance(loss, MaskedLoss):
        raise ValueError(f"a loss is a MaskedLoss, such as keras_mae.losses.MaskedL1(), or None; got {loss!r}")
    if loss.takes_tokens != target.gives_tokens:
        measured, given = (("numbers", "tokens")[kind] for kind in (loss.takes_tokens, target.gives_tokens))
        raise ValueError(
            f"{loss!r} measures {measured}, and {target!r} gives {given}: choose a loss that fits the target, or none"
        )
    return loss


def _difference(target, prediction) -> tf.Tensor:
    if target.shape[-1] != prediction.shape[-1]:
        raise ValueError(
            f"the target has {target.shape[-1]} numbers a patch, and the prediction {prediction.shape[-1]}: "
            "target.dim is the width of what its call returns"
        )
    return tf.cast(prediction, tf.float32) - target


def _mean(errors) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(errors), tf.cast(tf.size(errors), tf.float32))

"""A segmenter on top of the encoder: a class for every pixel."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_mae.encoders import Encoder
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import LinearMasks, MaskTransformer
from keras_mae.models.confusion_metrics import MeanIoU, PixelAccuracy
from keras_mae.models.image_head import ImageHead
from keras_mae.models.pixel_labels import check_pixel_labels, fault_of_pixels, pixel_classes
from keras_mae.registry import check_name

HEADS = ("linear", "mask_transformer")
_HEAD_WIDTH = 64  # of an attention head of the mask transformer, as in the ViTs of all sizes up to large


@keras.saving.register_keras_serializable(package="keras_mae")
class ImageSegmenter(ImageHead):
    """An encoder, and a head that gives every pixel a class.

    The patch tokens after the final norm are a map, of which the head makes a map of logits, which is enlarged to the
    size of the images (bilinear). The linear head, `LinearMasks`, is DINOv2's protocol; with `num_trainable_layers=0`
    it is a dense linear probe, with a BatchNorm. The other one, `MaskTransformer`, tells classes apart with transformer
    blocks, and draws finer edges: it enlarges the map of tokens up to strides of 4 pixels, at least once. On
    photographs with digits, 100 of them with labels, its mean IoU is 21.3 % from scratch where that of the linear head
    is 16.0 % (`python -m benchmarks.segmentation`, seed 0).

    Args:
        encoder, num_trainable_layers, seed: see `ImageHead`.
        num_classes: number of classes `K`, the background included.
        head: `"linear"` or `"mask_transformer"`.

    Call arguments:
        inputs, training, seed: see `ImageHead`.

    Returns:
        Logits `(B, H, W, K)`, float32. In `fit`, labels are integers `(B, H, W)` or `(B, H, W, 1)`, -1 for a pixel
        without label. The default loss is the cross-entropy, summed over the labelled pixels and divided by the number
        of all pixels, so that it is the mean over the batch on any number of devices. The default metrics are
        `accuracy` of the labelled pixels, and `mean_iou`, see `MeanIoU`; both are of the counts over the whole epoch,
        without weights. Keras' own losses and metrics see probabilities; to them a pixel without label weighs nothing,
        and those of them that take shares get one-hot labels.

    Raises:
        ValueError: for an unknown head, a number of layers that the encoder does not have; and from `fit`, `evaluate`,
            `train_on_batch` and `test_on_batch` for invalid labels.

    Example:

    >>> segmenter = ImageSegmenter(mae.encoder, num_classes=21, head="mask_transformer")
    >>> segmenter.compile(optimizer=keras.optimizers.AdamW(1e-4))
    >>> segmenter.fit(images, masks)

    Reference: arXiv 2111.06377, table 5 and appendix A.4 (MAE's segmentation, with UperNet); see the two heads.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        head: str = "linear",
        num_trainable_layers: float | None = None,
        seed: int = 0,
        name: str = "image_segmenter",
        **kwargs: Any,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"a segmenter needs at least 2 classes, the background is one; got {num_classes}")
        check_name("head", head, HEADS)
        self.num_classes, self._size = num_classes, encoder.image_shape[:2]
        super().__init__(encoder, num_trainable_layers, seed, name=name, **kwargs)
        self.head = head
        if head == "linear":
            self.masks = LinearMasks(num_classes, batch_norm=self.is_probe, name="masks")
        else:
            upscales = max(1, int(math.log2(min(encoder.patch_size))) - 2)  # as in EoMT
            heads = max(1, encoder.hidden_dim // _HEAD_WIDTH)
            heads = next(count for count in range(heads, 0, -1) if encoder.hidden_dim % count == 0)
            policy = {"dtype": self.dtype_policy}
            self.masks = MaskTransformer(num_classes, upscales, num_heads=heads, name="masks", **policy)
        self.build((None, *encoder.image_shape))

    def build(self, input_shape=None) -> None:
        if not self.built:
            self.built = True
            self.masks.build((None, *self.encoder.grid, self.encoder.hidden_dim))

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], *self._size, self.num_classes)

    def call(self, inputs, training=False, seed: ExampleSeed | None = None):
        features = self.features(inputs, training, seed)  # (B, rows, columns, D)
        logits = self.masks(features, training=training)  # (B, n rows, n columns, K)
        return tf.image.resize(tf.cast(logits, tf.float32), self._size)  # (B, H, W, K)

    def features(self, inputs, training=False, seed: ExampleSeed | None = None) -> tf.Tensor:
        """What the head takes from the encoder: the patch tokens after the final norm, `(B, rows, columns, D)`."""
        tokens = self.encoder.encode(inputs, training=training and not self.is_probe, seed=seed)
        return tf.reshape(tokens.patches, [-1, *self.encoder.grid, self.encoder.hidden_dim])

    def predictions(self, outputs) -> tf.Tensor:
        """The probabilities of the classes, `(B, H, W, K)`."""
        return tf.nn.softmax(outputs)

    def counted(self, labels) -> tf.Tensor:
        """Which pixels have a label."""
        return labels >= 0

    def checked_labels(self, labels, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Labels as int32 `(B, H, W)`, see `pixel_classes`, and whether those of an image are all valid."""
        return pixel_classes(labels, self.num_classes, self._size)

    def check_labels(self, labels) -> None:
        check_pixel_labels(labels, self.num_classes, self._size)

    def label_sentence(self) -> str:
        return fault_of_pixels(self.num_classes, self._size)

    def default_loss(self, labels, outputs, training: bool) -> tf.Tensor:
        """The cross-entropy of each pixel, `(B, H, W)`: 0 without label, NaN for an invalid one."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), outputs)
        return tf.where(labels >= 0, losses, tf.where(labels == -1, 0.0, float("nan")))

    def default_metrics(self) -> list[keras.metrics.Metric]:
        return [PixelAccuracy(self.num_classes), MeanIoU(self.num_classes)]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables without weight decay: the encoder's, biases and norms of the head, class tokens."""
        tokens = [self.masks.class_tokens] if isinstance(self.masks, MaskTransformer) else []
        return [*super().no_weight_decay(), *tokens]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "head": self.head}

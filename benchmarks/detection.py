"""A detector of KerasHub on an encoder of this package, trained to find drawn shapes.

    python -m benchmarks.detection --steps=800

Circles, squares and triangles, one to three in an image of 64 x 64 pixels of noise. The detector is a RetinaNet on an
encoder of random weights; it is trained with the layer-wise decay of this package's optimizer. Prints, before and after
training, what it finds in 256 other images: the share of shapes that a box of the right class meets with an IoU of at
least 0.5 (recall), the share of boxes that meet one (precision), and the mean IoU of these pairs.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import keras
import numpy as np

from keras_mae.models import ViTEncoder
from keras_mae.optimizers import AdamW, WarmupCosine

SIDE, LARGEST, MOST = 64, 28, 3  # of an image and of a shape in pixels; shapes of an image
CLASSES = ("circle", "square", "triangle")
TESTED, STEPS_OF_A_LOSS = 256, 50


def drawn(count: int, seed: int | tuple[int, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images with shapes that do not overlap, and their boxes.

    Args:
        count: images, `N`.
        seed: of everything.

    Returns:
        uint8 `(N, SIDE, SIDE, 3)`; `boxes`, float32 `(N, MOST, 4)`, (left, top, right, bottom) in pixels, and
        `labels`, float32 `(N, MOST)`, both -1 where there is no further shape.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, SIDE, SIDE, 3))
    boxes, labels = np.full((count, MOST, 4), -1.0, "float32"), np.full((count, MOST), -1.0, "float32")
    for image, its_boxes, its_labels in zip(images, boxes, labels, strict=True):
        free = np.ones((SIDE, SIDE), bool)
        for _ in range(rng.integers(1, MOST + 1)):
            size = rng.integers(LARGEST // 2, LARGEST + 1)
            left, top = rng.integers(0, SIDE - size + 1, 2)
            field = slice(top, top + size), slice(left, left + size)
            if not free[field].all():
                continue
            free[field] = False
            label = rng.integers(len(CLASSES))
            image[field][_shape(label, size)] += rng.integers(60, 136, 3)
            place = np.argmax(its_labels < 0)
            its_boxes[place], its_labels[place] = (left, top, left + size, top + size), label
    return images.astype("uint8"), {"boxes": boxes, "labels": labels}


def _shape(label: int, size: int) -> np.ndarray:
    """Which pixels of its box a shape covers, bool `(size, size)`."""
    y, x = 2 * np.indices((size, size)) + 1 - size  # from the centre, in halves of a pixel
    covered = {
        "circle": x**2 + y**2 <= size**2,
        "square": np.ones((size, size), bool),
        "triangle": abs(x) <= 1 + (y + size) // 2,
    }
    return covered[CLASSES[label]]


def tiny_encoder() -> ViTEncoder:
    """An encoder for `drawn` images, with patches of 8 pixels."""
    sizes = {"hidden_dim": 96, "num_layers": 4, "num_heads": 4, "position_temperature": 100.0}
    return ViTEncoder((SIDE, SIDE, 3), patch_size=8, drop_path_rate=0.05, **sizes)


def retinanet(encoder: ViTEncoder, num_convs: int = 2) -> Any:
    """KerasHub's RetinaNet on an encoder with patches of 8 pixels, with anchors of 16 pixels and more."""
    import keras_hub

    from keras_mae.models import PyramidBackbone

    levels = {"min_level": 3, "max_level": 4}
    backbone = keras_hub.models.RetinaNetBackbone(
        PyramidBackbone(encoder, **levels), use_p5=False, image_shape=encoder.image_shape, **levels
    )
    anchors = keras_hub.layers.AnchorGenerator(
        "xyxy", num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=2.0, **levels
    )
    detector = keras_hub.models.RetinaNetObjectDetector(
        backbone, len(CLASSES), "xyxy", anchor_generator=anchors, pre_logits_num_conv_layers=num_convs
    )
    # KerasHub 0.32 gives the bias of the prior probability, 0.01, to the boxes, and none to the classes
    boxes, classes = detector.box_head.prediction_layer.bias, detector.classification_head.prediction_layer.bias
    boxes.assign(np.zeros(boxes.shape))
    classes.assign(np.full(classes.shape, -np.log(99.0)))
    return detector


def layer_wise_adamw(detector: Any, encoder: ViTEncoder, steps: int, rate: float = 1e-3, decay: float = 0.8) -> AdamW:
    """AdamW whose rate falls from layer to layer towards the encoder's input; all else has the full rate."""
    groups = encoder.layer_groups()  # the stem, each layer, the final norm
    inside = {id(variable) for group in groups for variable in group}
    groups[-1] += [variable for variable in detector.trainable_variables if id(variable) not in inside]
    return AdamW(
        WarmupCosine(rate, steps // 10, steps),
        weight_decay=0.05,
        no_weight_decay=["*/bias", "*/beta", "*/gamma", *(v.path for v in encoder.no_weight_decay())],
        learning_rate_scales={v.path: decay ** (len(groups) - 1 - i) for i, group in enumerate(groups) for v in group},
        global_clipnorm=1.0,
    )


def found(detector: Any, images: np.ndarray, expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Recall, precision and mean IoU of the pairs, of a detector on images with known boxes."""
    predicted = detector.predict(images, batch_size=64, verbose=0)
    overlaps, shapes, boxes = [], 0, 0
    for index in range(len(images)):
        real = expected["labels"][index] >= 0
        count = int(predicted["num_detections"][index])
        shapes, boxes = shapes + int(real.sum()), boxes + count
        overlaps += _pairs(
            expected["boxes"][index][real],
            expected["labels"][index][real],
            predicted["boxes"][index][:count],
            predicted["labels"][index][:count],
        )
    return {
        "recall": len(overlaps) / shapes,
        "precision": len(overlaps) / max(boxes, 1),
        "mean_iou": float(np.mean(overlaps)) if overlaps else 0.0,
    }


def _pairs(real, real_labels, boxes, labels) -> list[float]:
    """The IoU of each real box with the box of its class that meets it best, from 0.5; a box meets one at most."""
    low = np.maximum(real[:, None, :2], boxes[None, :, :2])
    high = np.minimum(real[:, None, 2:], boxes[None, :, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=-1)
    area_real, area = (np.prod(np.maximum(one[:, 2:] - one[:, :2], 0), axis=-1) for one in (real, boxes))
    iou = inside / np.maximum(area_real[:, None] + area[None] - inside, 1e-9)
    iou *= real_labels[:, None] == labels[None]
    overlaps = []
    while iou.size and iou.max() >= 0.5:
        one, other = np.unravel_index(iou.argmax(), iou.shape)
        overlaps.append(float(iou[one, other]))
        iou[one], iou[:, other] = 0, 0
    return overlaps


def measure(steps: int, batch_size: int = 16, seed: int = 0) -> dict[str, Any]:
    """Trains a detector and says what it finds, before and after.

    Args:
        steps: of training, each on new images.
        batch_size: images of a step.
        seed: of the weights and the images.
    """
    keras.utils.set_random_seed(seed)
    encoder = tiny_encoder()
    detector = retinanet(encoder)
    detector.compile(optimizer=layer_wise_adamw(detector, encoder, steps), jit_compile=False)
    tested = drawn(TESTED, (seed, steps))
    untrained = found(detector, *tested)
    start, losses = time.perf_counter(), []
    for part in range(steps // STEPS_OF_A_LOSS):
        images = drawn(STEPS_OF_A_LOSS * batch_size, (seed, part))
        losses += detector.fit(*images, batch_size=batch_size, verbose=0).history["loss"]
    seconds = time.perf_counter() - start
    trained = found(detector, *tested)
    return {"steps": steps, "seconds": seconds, "losses": losses, "untrained": untrained, "trained": trained}


def main() -> None:
    """Reads the flags and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.steps, seed=arguments.seed)))


if __name__ == "__main__":
    main()

"""On photographs: the resize against Pillow's in floats and in uint8."""

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_mae.data.preprocessing import resize_as_pillow, resize_at_once

PHOTOGRAPHS = {
    "china": load_sample_images().images[0],
    "flower": load_sample_images().images[1],
    "astronaut": skimage.data.astronaut(),
    "chelsea": skimage.data.chelsea(),
}
PHOTOGRAPHS |= {f"{name}, on its side": image.transpose(1, 0, 2).copy() for name, image in PHOTOGRAPHS.items()}


def resize(image, size):
    return resize_as_pillow(image, tf.constant(size, tf.int64))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("size", [(224, 224), (97, 160), (64, 48), (32, 32)])
def test_shrinking_is_pillows_bicubic(name, size):
    image = PHOTOGRAPHS[name]
    floats = tf.image.resize(image, size, method="bicubic", antialias=True).numpy()
    channels = [Image.fromarray(image[..., c].astype("float32")).resize(size[::-1], 3) for c in range(3)]
    assert np.abs(floats - np.stack(channels, axis=-1)).max() < 0.05
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], 3)).astype(int)
    within = lambda result, levels: (np.abs(result.numpy() - expected) <= levels).mean()  # noqa: E731
    assert within(resize(tf.constant(image), size), 1) >= 0.999
    if image.shape[0] <= image.shape[1] and size[0] >= size[1]:
        # Pillow, too, has begun with the width, as releases before 13 always do
        assert within(resize(tf.constant(image), size), 0) >= 0.995
    if size == (224, 224):
        assert within(resize_at_once(tf.constant(image), size), 1) >= 0.999

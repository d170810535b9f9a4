"""On photographs: the resize against Pillow's in floats and in uint8."""

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_mae.data.preprocessing import resize

PHOTOGRAPHS = {
    "china": load_sample_images().images[0],
    "flower": load_sample_images().images[1],
    "astronaut": skimage.data.astronaut(),
    "chelsea": skimage.data.chelsea(),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("size", [(224, 224), (97, 160), (64, 48)])
def test_shrinking_is_pillows_bicubic(name, size):
    image = PHOTOGRAPHS[name]
    floats = tf.image.resize(image, size, method="bicubic", antialias=True).numpy()
    channels = [Image.fromarray(image[..., c].astype("float32")).resize(size[::-1], 3) for c in range(3)]
    assert np.abs(floats - np.stack(channels, axis=-1)).max() < 0.05
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], 3)).astype(int)
    # Pillow rounds to uint8 between its two passes as well; what that is worth grows with the reduction
    share = {(224, 224): 0.999, (97, 160): 0.998, (64, 48): 0.99}[size]
    assert (np.abs(resize(tf.constant(image), size).numpy() - expected) <= 1).mean() >= share

"""The operations of served signatures against the kernels that TensorFlow has for GPUs."""

import pytest

from keras_mae.export.served_autoencoder import ServedAutoencoder
from keras_mae.export.served_classifier import ServedClassifier
from keras_mae.export.served_segmenter import ServedSegmenter
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import ImageClassifier, ImageSegmenter
from tests.base import fill_randomly, small_encoder, small_mae
from tests.device_kernels import GPU, kernels_of, without_kernel

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]

SERVED = {
    "encoder": lambda: ServedEncoder(small_encoder()),
    "classifier": lambda: ServedClassifier(fill_randomly(ImageClassifier(small_encoder(), 3))),
    "segmenter": lambda: ServedSegmenter(fill_randomly(ImageSegmenter(small_encoder(), 3))),
    "autoencoder": lambda: ServedAutoencoder(small_mae()),
}
# By nature on the host: files are strings, and a tf.data pipeline decodes them in parallel
OF_FILES = {
    "EncodePng",
}


@pytest.mark.parametrize("kind", SERVED)
def test_signatures_run_on_a_gpu_but_for_files(kind):
    for name, function in SERVED[kind]().signatures().items():
        missing = {each.partition("(")[0] for each in without_kernel(function.graph, kernels_of(GPU))}
        assert missing <= (OF_FILES if name == "serving_default" else set()), name

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
# By nature on the host, as their results are files or the names of classes, which are strings
OF_NAMES = {"Const(string)", "GatherV2(int32, int64, string)"}
OF_FILES = {
    "Size(int64, string)",
    "EncodePng(uint8)",
    "TensorListFromTensor(int32, uint8)",  # the maps of classes, one after the other to EncodePng
    "TensorListGetItem(int32, uint8)",
    "TensorListSetItem(string)",
    "TensorListStack(string)",
}


def is_of_pipeline(operation):
    """Whether it is one of a tf.data pipeline, which decodes files in parallel."""
    return "Dataset" in operation.partition("(")[0]


@pytest.mark.parametrize("kind", SERVED)
def test_signatures_run_on_a_gpu_but_for_strings_and_the_decoding_of_files(kind):
    of_files = False
    for name, function in SERVED[kind]().signatures().items():
        missing = set(without_kernel(function.graph, kernels_of(GPU)))
        pipeline = set(filter(is_of_pipeline, missing))
        assert bool(pipeline) == (name == "serving_default"), name
        assert missing - pipeline <= (OF_FILES | OF_NAMES if pipeline else OF_NAMES), name
        of_files |= bool(pipeline)
    assert of_files == (kind != "autoencoder")

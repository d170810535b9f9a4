"""An export is compared on the processor, in all bits: a GPU's TF32 would move an embedding by 1e-3."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.export import VerificationError, export_encoder, verify
from keras_mae.export.signatures import ServedEncoder
from tests.base import PLANES, run_forked, small_encoder

# A second logical processor stands for a GPU: the weights lie there, and operations run there by default. The graphs
# that were executed tell each operation's device.
DEVICES = """
import sys
import tensorflow as tf
processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_mae.export import verify
from keras_mae.export.signatures import ServedEncoder
from tests.base import PLANES, small_encoder
with tf.device("CPU:1"):
    served = ServedEncoder(small_encoder(PLANES))
    cases = verify.example_cases(served, None)
    images, embed = tf.constant(cases["embed"]["images"]), served.signatures()["embed"]
    assert all(weight.device.endswith("CPU:1") for weight in served.variables)
    for what in ("check", "call"):
        tf.summary.trace_on(graph=True)
        verify.live_outputs(served, cases) if what == "check" else embed(images=images)
        with tf.summary.create_file_writer(f"{sys.argv[1]}/{what}").as_default():
            tf.summary.trace_export("executed", step=0)
"""


def devices_of_products(folder):
    """The devices that computed products of matrices."""
    records = [record.numpy() for path in folder.iterdir() for record in tf.data.TFRecordDataset(str(path))]
    values = [value for record in records for value in tf.compat.v1.Event.FromString(record).summary.value]
    runs = [tf.compat.v1.RunMetadata.FromString(text) for value in values for text in value.tensor.string_val]
    nodes = [
        node for run in runs for each in run.function_graphs for part in each.partition_graphs for node in part.node
    ]
    return {node.device.rpartition("device:")[2] for node in nodes if "MatMul" in node.op}


@pytest.mark.medium
def test_products_are_computed_on_the_processor_wherever_the_weights_are(tmp_path):
    process = run_forked("-c", DEVICES, str(tmp_path))
    assert process.returncode == 0, process.stderr[-2000:]
    assert devices_of_products(tmp_path / "call") == {"CPU:1"}  # else this test would see nothing
    assert devices_of_products(tmp_path / "check") == {"CPU:0"}


@pytest.fixture
def tf32():
    """TF32 as it is on a GPU by default."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield tf.config.experimental.tensor_float_32_execution_enabled
    tf.config.experimental.enable_tensor_float_32_execution(before)


def test_tf32_is_off_inside_and_as_before_afterwards(tf32):
    with pytest.raises(KeyError), verify.on_processor():
        assert not tf32() and tf.zeros(()).device.endswith("CPU:0")
        raise KeyError
    assert tf32()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    with verify.on_processor():
        assert not tf32()
    assert not tf32()


def rounded(values):
    """Float32 with TF32's 10 bits after the point, as a GPU rounds the operands of products."""
    bits = np.ascontiguousarray(values, "float32").view("uint32")
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFFFFF << 13 & 0xFFFFFFFF)).view("float32")


class OnGpu(ServedEncoder):
    """An encoder whose signatures give what a GPU gives: of rounded weights, unless TF32 is off."""

    def signatures(self):
        exact = super().signatures()
        return {name: self._as_on_gpu(function) for name, function in exact.items()}

    def _as_on_gpu(self, function):
        def computed(**inputs):
            if not tf.config.experimental.tensor_float_32_execution_enabled():
                return function(**inputs)
            before = [variable.numpy() for variable in self.variables]
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(rounded(value))
            outputs = function(**inputs)
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(value)
            return outputs

        return computed


@pytest.mark.medium
def test_a_model_on_a_gpu_passes_the_check_of_its_export(tf32, tmp_path):
    encoder = small_encoder(PLANES)
    path = export_encoder(encoder, str(tmp_path))
    live = OnGpu(encoder)
    assert max(verify.verify_export(live, path).values()) < 1e-5
    assert tf32()
    cases = verify.example_cases(live, None)
    of_gpu, exact = (
        {
            name: {key: value.numpy() for key, value in function(**constants(cases[name])).items()}
            for name, function in of
        }
        for of in (live.signatures().items(), ServedEncoder(encoder).signatures().items())
    )
    with pytest.raises(VerificationError, match="differs from the live one"):  # such a GPU against a processor
        verify.compare(cases, of_gpu, exact, {"float32"})


def constants(inputs):
    return {name: tf.constant(value) for name, value in inputs.items()}

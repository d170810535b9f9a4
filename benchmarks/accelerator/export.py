"""Exports train steps as HLO, with a description of their inputs and, for small ones, TensorFlow's results."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import re
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.accelerator.replica import OneOfSeveral
from benchmarks.accelerator.steps import COMPILED_STEPS, STEPS, ExportedStep, Input, Step
from benchmarks.our_step import our_model, our_simmim
from benchmarks.sizes import SIZES
from keras_mae.layers.kernels import COMPILED_KERNELS, use_kernels
from keras_mae.optimizers import adamw

LEARNING_RATE = 1e-4


class Exporter:
    """A compiled model and its step as one function of XLA.

    Args:
        step: which.

    Attributes:
        model: the model.
        inputs: of the HLO, in its order.
        loss: the output with the mean loss so far.
    """

    def __init__(self, step: Step) -> None:
        self._step, size = step, dataclasses.replace(SIZES[step.size], batch_size=step.batch_size)
        tf.config.experimental.enable_tensor_float_32_execution(step.dtype != "float32")  # on is TensorFlow's default
        dtype = "bfloat16" if step.dtype == "bfloat16" else "float32"
        self.model = our_model(size, dtype) if step.method == "mae" else our_simmim(size, dtype)
        if step.rematerialize:
            for part in (self.model.encoder, *([self.model.decoder] if step.method == "mae" else [])):
                part.rematerialize = True
        optimizer = adamw(self.model, LEARNING_RATE)
        self.model.compile(optimizer=optimizer, accumulation_steps=step.accumulation_steps, jit_compile=True)
        self.model.optimizer.build(self.model.trainable_variables)
        self._images = tf.TensorSpec((size.batch_size, *size.image_shape), tf.uint8)
        compiled = tf.function(self._loss_on_accelerator, jit_compile=True, autograph=False)
        function = compiled.get_concrete_function(self._images)
        self._ir = compiled.experimental_get_compiler_ir(self._images)
        # those of Keras' layers and optimizer, whose handles alone may be in the graph, and those that it reads
        of_keras = [variable.value for variable in (*self.model.variables, *self.model.optimizer.variables)]
        by_handle = {id(variable.handle): variable for variable in (*of_keras, *function.graph.variables)}
        self._variables = [by_handle[id(handle)] for handle in function.captured_inputs]
        outputs = _outputs_by_input(self.text)
        images = Input("images", tuple(self._images.shape), "uint8", "images")
        self.inputs = (
            images,
            *(self._described(v, outputs.get(n)) for n, v in enumerate(self._variables, start=1)),
        )
        self.loss = 0

    def _loss_on_accelerator(self, images):
        replicas = self._step.replicas
        replica = OneOfSeveral(replicas).replica_context() if replicas > 1 else contextlib.nullcontext()
        with use_kernels(COMPILED_KERNELS), replica:
            return self._loss_of_step(images)

    def _loss_of_step(self, images):
        return self.model.train_step(images)["loss"]

    @functools.cached_property
    def text(self) -> str:
        """The HLO as XLA prints it, before any optimisation."""
        return self._ir(stage="hlo")

    def serialized(self) -> bytes:
        """The HLO as a serialized `HloModuleProto`."""
        return self._ir(stage="hlo_serialized")

    def operands_of_products(self) -> list[tuple[str, str]]:
        """The dtypes, as XLA names them, of both operands of each product of matrices in the step."""
        return re.findall(r" dot\((\w+)\[[^ ]* [^ ]+, (\w+)\[", self.text)

    def _described(self, variable: tf.Variable, output: int | None) -> Input:
        names = {id(weight.value): weight.path for weight in self.model.variables + self.model.optimizer.variables}
        name = names.get(id(variable), variable.name)
        shape, dtype = tuple(variable.shape), variable.dtype.name
        if not shape:
            return Input(name, shape, dtype, "value", float(variable.numpy()), output)
        kind = "zeros" if name.endswith(("_momentum", "_velocity")) else "noise"
        return Input(name, shape, dtype, "gain" if name.endswith("gamma") else kind, None, output)

    def results(self, num_steps: int) -> dict[str, np.ndarray]:
        """What plain layers and TensorFlow's kernels, without XLA, make of the inputs that `Input.make` describes.

        One device takes the images of all replicas, in one go.

        Returns:
            `losses`, one for each step, and the variables after the last one, by the number of the input.
        """
        for variable, one in zip(self._variables, self.inputs[1:], strict=True):
            variable.assign(one.make())
        self.model.accumulation_steps = 1
        step = tf.function(self._loss_of_step, autograph=False)
        images = tf.constant(self.inputs[0].make(self._step.replicas))
        losses = [step(images).numpy() for _ in range(num_steps)]
        changed = [(n, v) for n, v in enumerate(self._variables, start=1) if self.inputs[n].output is not None]
        return {"losses": np.stack(losses), **{str(n): variable.numpy() for n, variable in changed}}


def _outputs_by_input(text: str) -> dict[int, int]:
    """Which output of a printed HLO holds an input's value after the step, by the number of the input."""
    header = text.partition("\n")[0]
    alias = re.search(r"input_output_alias=\{(.*?) \}", header)
    pairs = re.findall(r"\{(\d+)\}: \((\d+), \{\}", alias[1] if alias else "")
    return {int(number): int(output) for output, number in pairs}


def export(name: str, folder: str) -> None:
    """Exports the step of this name in `STEPS` or `COMPILED_STEPS`."""
    step = {**STEPS, **COMPILED_STEPS}[name]
    exporter = Exporter(step)
    results = exporter.results(step.num_results) if step.num_results else {}
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    ExportedStep(step, exporter.inputs, exporter.loss, versions).write(folder, name, exporter.serialized(), results)


def main() -> None:
    """Reads the flags and exports what they name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.export", description=__doc__)
    parser.add_argument("--output", required=True, help="the folder to write")
    parser.add_argument("--only", default=",".join(STEPS), help="names separated by commas; default: %(default)s")
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        begin = time.perf_counter()
        export(name, arguments.output)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()

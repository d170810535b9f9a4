"""What Keras offers, on every model: it gives the right value, or is refused with a sentence of ours."""

import importlib.util
import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.masking import BlockMasking, GridMasking, RandomMasking, UnitMasking
from keras_mae.targets import PCATarget, PixelTarget
from tests.base import fill_randomly, weights_of
from tests.models.keras_features import IMAGES, MODELS, assert_same_values, table, trained, values


def summary(model, path):
    lines = io.StringIO()
    model.build((None, 8, 12, 3))  # as one does before a summary; it changes nothing
    model.summary(line_length=140, expand_nested=True, print_fn=lambda line, **_: lines.write(line + "\n"))
    text = lines.getvalue()
    assert "?" not in text and "unbuilt" not in text and f"Total params: {model.count_params():,}" in text
    assert "(None, 6, 48)" in text and "(None, 7, 16)" in text  # patches, and tokens with the class token
    assert model.count_params() == sum(weight.numpy().size for weight in model.weights)


def plot(model, path):
    if importlib.util.find_spec("pydot") is None:
        with pytest.raises(ImportError, match="You must install pydot"):
            keras.utils.plot_model(model, path / "model.png")
    else:
        assert len(keras.utils.model_to_dot(model, show_shapes=True).get_nodes()) == 1


def export(model, path):
    model.export(path / "model", verbose=False)
    loaded = tf.saved_model.load(str(path / "model"))
    for images in (IMAGES, IMAGES[:1]):  # of any batch size
        got = loaded.serve(tf.constant(images, tf.float32))
        assert_same_values(keras.tree.flatten(got), values(model, images))


def export_after_fit(model, path):
    export(trained(model), path)


def export_after_loading(model, path):
    model.save(path / "model.keras")
    export(keras.saving.load_model(path / "model.keras"), path)


def other_exports(model, path):
    for form in ("onnx", "litert", "openvino"):
        with pytest.raises(ValueError, match=f"writes a SavedModel .*, got '{form}': keras_mae.export writes ONNX"):
            model.export(path / "model", format=form)
    assert not list(path.iterdir())


def quantize(model, path):
    before = weights_of(model)
    with pytest.raises(ValueError, match="cannot be quantized in place, as its file could not be loaded again"):
        model.quantize("int8")
    assert_same_values(weights_of(model), before, 0)
    patchify = getattr(model, "encoder", model).patchify
    with pytest.raises(ValueError, match="cannot be quantized in place"):
        patchify.quantize("int8")  # what Keras calls if the model is part of another


def functional(model, path):
    inputs = keras.Input((8, 12, 3))
    outer = keras.Model(inputs, model(inputs))
    assert_same_values(outer(IMAGES), values(model), 0)
    assert [tuple(output.shape[1:]) for output in keras.tree.flatten(outer.output)] == [
        value.shape[1:] for value in values(model)
    ]
    outer.save(path / "model.keras")
    assert_same_values(keras.saving.load_model(path / "model.keras")(IMAGES), values(model), 0)
    assert_same_values(keras.Sequential([keras.Input((8, 12, 3)), model])(IMAGES), values(model), 0)
    with pytest.raises(ValueError, match=r"expected images of shape \(batch, 8, 12, 3\)"):
        model(keras.Input((12, 8, 3)))


def clone(model, path):
    copy = keras.models.clone_model(model)
    before = weights_of(model)
    copy.set_weights(model.get_weights())
    assert_same_values(copy(IMAGES), values(model), 0)
    for weight in copy.weights:
        weight.assign(tf.zeros_like(weight))
    for weight, old in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def json(model, path):
    copy = keras.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    assert_same_values(copy(IMAGES), values(model), 0)


def weights_file(model, path):
    model.save_weights(path / "model.weights.h5")
    other = fill_randomly(keras.models.clone_model(model), seed=5)
    other.load_weights(path / "model.weights.h5")
    assert_same_values(other(IMAGES), values(model), 0)


def get_layer(model, path):
    name = "vit_encoder" if hasattr(model, "encoder") else "block_0"
    assert model.get_layer(name) is (model.encoder if hasattr(model, "encoder") else model.blocks[0])
    assert model.get_layer(index=0) is model.layers[0]


def predict(model, path):
    assert_same_values(model.predict(IMAGES, batch_size=4, verbose=0), values(model))
    assert_same_values(model.predict_on_batch(IMAGES), values(model))


def calls_repeat(model, path):
    assert_same_values(model(IMAGES), values(model), 0)
    assert_same_values(tf.function(model)(IMAGES), values(model))


def shapes(model, path):
    outputs, claimed = model(IMAGES), model.compute_output_shape((4, 8, 12, 3))
    if isinstance(outputs, dict):
        assert claimed == {name: tuple(output.shape) for name, output in outputs.items()}
    else:
        assert claimed == tuple(outputs.shape)
    specs = keras.tree.flatten(model.compute_output_spec(keras.KerasTensor((4, 8, 12, 3))))
    assert [(spec.shape, spec.dtype) for spec in specs] == [(v.shape, v.dtype.name) for v in values(model)]


def lora(model, path):
    """Adapters alone are trained, of what they are added to; the file holds their sum."""
    denses = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    trained_before = len(model.trainable_variables)
    for dense in denses:
        dense.enable_lora(2)
    kernels, first = [dense._kernel.numpy() for dense in denses], values(model)
    adapters = [dense.lora_kernel_b for dense in denses]
    trained(model)
    for dense, kernel in zip(denses, kernels, strict=True):
        np.testing.assert_array_equal(dense._kernel.numpy(), kernel)
    if hasattr(model, "encoder"):
        assert any(np.any(adapter.numpy()) for adapter in adapters)
        assert any((now != then).any() for now, then in zip(values(model), first, strict=True))
    model.save(path / "model.keras")
    merged = keras.saving.load_model(path / "model.keras")
    assert_same_values(merged(IMAGES), values(model), 1e-6)
    assert len(merged.trainable_variables) == trained_before  # a plain model, of which everything can be trained on
    model.save_weights(path / "model.weights.h5")
    expected = values(model)
    model.load_weights(path / "model.weights.h5")  # into adapters, which start anew and can be trained on
    assert_same_values(model(IMAGES), expected, 1e-6)
    assert all(np.any(dense.lora_kernel_a.numpy()) for dense in denses)


FEATURES = [
    summary,
    plot,
    export,
    export_after_fit,
    export_after_loading,
    other_exports,
    quantize,
    functional,
    clone,
    json,
    weights_file,
    get_layer,
    predict,
    calls_repeat,
    shapes,
    lora,
]


@pytest.mark.parametrize(("feature", "name"), [*table(FEATURES, [*MODELS])])
def test_feature(feature, name, tmp_path):
    feature(MODELS[name](), tmp_path)


def test_representations():
    sampler = UnitMasking(32, 0.6)
    assert repr(sampler) == "UnitMasking(unit=32, mask_ratio=0.6)"
    assert repr(RandomMasking(0.75)) == "RandomMasking(mask_ratio=0.75)"
    for sampler in (RandomMasking(), UnitMasking(), BlockMasking(), GridMasking()):
        again = eval(repr(sampler), {type(sampler).__name__: type(sampler)})  # noqa: S307 our own text
        assert again.get_config() == sampler.get_config()
    assert repr(PixelTarget(normalize=True)) == "PixelTarget(normalize=True)"
    assert repr(PCATarget(7)) == "PCATarget(num_components=7)"

"""Files of strangers: whatever is in them, one line says what, no code runs, and every command asks the same place."""

import json
import os
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mae
from keras_mae.models.saved_files import load_model_file
from keras_mae.targets.saved_tokenizer import open_tokenizer
from tests.base import random_images, weights_of


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """An autoencoder with a compiled optimizer, in a file."""
    encoder = keras_mae.ViTEncoder((16, 16, 3), 4, hidden_dim=16, num_layers=1, num_heads=2)
    mae = keras_mae.MaskedAutoencoder(encoder, keras_mae.MAEDecoder(16, 1, 2))
    mae.compile(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(1e-3, 10)))
    path = str(tmp_path_factory.mktemp("good") / "model.keras")
    mae.save(path)
    return path, mae


def rewritten(good, folder, change=None, drop=None, name="bad.keras"):
    """The good file with another config, or without one of its members."""
    path = str(folder / name)
    with zipfile.ZipFile(good[0]) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "config.json" and change is not None:
                config = json.loads(content)
                content = json.dumps(change(config) or config)
            if member != drop:
                new.writestr(member, content)
    return path


def refused(path):
    """The one line that says why."""
    with pytest.raises(ValueError) as caught:
        load_model_file(path)
    text = str(caught.value)
    assert path in text and "\n" not in text and len(text) < 600, text
    return text


def test_a_good_file_is_read_without_its_optimizer(good):
    model = load_model_file(good[0])
    for one, other in zip(weights_of(model), weights_of(good[1]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not model.compiled


def malicious(marker):
    """What a config may name in place of a plain layer, and would run code by."""
    lambda_layer = keras.layers.Lambda(lambda x: open(marker, "w").close() or x)
    return {
        "Lambda": keras.saving.serialize_keras_object(lambda_layer),
        "os.system": {"module": "os", "class_name": "system", "config": {"command": f"touch {marker}"}},
        "a function": {
            "module": "builtins",
            "class_name": "function",
            "config": "get_file",
            "registered_name": "get_file",
        },
        "keras.utils": {
            "module": "keras.utils",
            "class_name": "get_file",
            "config": {"origin": "file:///etc/hostname"},
        },
        "keras.src": {"module": "keras.src.utils.file_utils", "class_name": "get_file", "config": {}},
        "subprocess": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", marker]}},
        "TFSMLayer": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/nowhere"}},
        "registered": {"module": None, "class_name": "x", "config": {}, "registered_name": "other>Evil"},
    }


@pytest.mark.parametrize("what", list(malicious("")))
@pytest.mark.parametrize("where", ["root", "decoder", "initializer"])
def test_no_code_of_a_file_runs(good, what, where, tmp_path):
    marker = str(tmp_path / "ran")
    part = malicious(marker)[what]

    def change(config):
        if where == "root":
            return {**part, "compile_config": None}
        if where == "decoder":
            config["config"]["decoder"] = part
        else:
            config["config"]["encoder"]["config"]["mean"] = [part]
        return None

    text = refused(rewritten(good, tmp_path, change))
    assert "it was refused" in text or "other>" in text or "not part of keras_mae" in text
    assert not os.path.exists(marker)


def test_what_is_no_model_of_ours(good, tmp_path):
    path = str(tmp_path / "plain.keras")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    assert "holds a Sequential, and not a model of this package" in refused(path)
    sampler = keras.saving.serialize_keras_object(keras_mae.masking.RandomMasking(0.5))
    assert "do not make a RandomMasking" in refused(rewritten(good, tmp_path, lambda config: sampler))


def test_a_class_of_another_version(good, tmp_path):
    def change(config):
        config["config"]["decoder"] |= {"class_name": "NewDecoder", "registered_name": "keras_mae>NewDecoder"}

    assert "NewDecoder, which this version of keras_mae does not know" in refused(rewritten(good, tmp_path, change))


def test_weights_and_settings_that_do_not_fit(good, tmp_path):
    def wider(config):
        config["config"]["encoder"]["config"]["hidden_dim"] = 32

    def nonsense(config):
        config["config"]["encoder"]["config"]["num_heads"] = "many"

    for change in (wider, nonsense):
        assert "do not make a MaskedAutoencoder" in refused(rewritten(good, tmp_path, change))


def test_damaged_files(good, tmp_path):
    size = os.path.getsize(good[0])
    for share in (0.0, 0.4, 0.999):
        path = str(tmp_path / f"cut{share}.keras")
        shutil.copy(good[0], path)
        os.truncate(path, int(size * share))
        assert "truncated" in refused(path)
    for member in ("config.json", "model.weights.h5"):
        assert f"holds no {member}" in refused(rewritten(good, tmp_path, drop=member))
    (tmp_path / "text.keras").write_text("<html>404</html>")
    assert "is not a model saved by this package" in refused(str(tmp_path / "text.keras"))
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "holds no config.json" in refused(str(tmp_path / "other.keras"))
    (tmp_path / "folder.keras").mkdir()
    assert "is a folder" in refused(str(tmp_path / "folder.keras"))
    assert "there is no file" in refused(str(tmp_path / "absent.keras"))


def test_a_file_that_unpacks_to_far_more_than_it_is(good, tmp_path):
    path = str(tmp_path / "bomb.keras")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in ("config.json", "metadata.json"):
            archive.writestr(member, "{}")
        archive.writestr("model.weights.h5", bytes(50_000_000))
    assert "unpacks to 50,000,004 bytes" in refused(path)


@pytest.mark.medium  # reading the digits takes seconds
@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "--run={}", "--output={}.out"],
        ["knn", "--run={}", "--data=digits"],
        ["linear-probe", "--run={}", "--data=digits", "--output={}.out", "--recipe=probe_digits"],
        ["finetune", "--run={}", "--data=digits", "--output={}.out", "--recipe=finetune_digits"],
        ["reconstruct", "--run={}", "--data=digits", "--output={}.png"],
        ["convert", "--checkpoint={}", "--format=keras", "--output={}.safetensors", "--output_format=timm"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_refuses_alike(good, arguments, tmp_path, capsys):
    from keras_mae import cli

    path = rewritten(good, tmp_path, lambda config: {"module": "os", "class_name": "system", "config": {}})
    code = cli.main([each.format(path) for each in arguments])
    error = capsys.readouterr().err.strip()
    assert code == 2 and "it was refused" in error and len(error.splitlines()) == 1, error
    assert sorted(os.listdir(tmp_path)) == ["bad.keras"]


class Tokenizer(tf.Module):
    """Numbers the patches by their mean, and does something on the side."""

    def __init__(self, aside=None):
        super().__init__()
        self.scale = tf.Variable(1.0)
        self.aside = aside

    @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)])
    def __call__(self, images):
        means = tf.nn.avg_pool2d(tf.reduce_mean(images, -1, keepdims=True), 4, 4, "VALID")
        if self.aside is not None:
            self.aside()
        return tf.cast(means * self.scale, tf.int32) // 32


def saved_tokenizer(folder, aside=None):
    module = Tokenizer(aside)
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return str(folder)


@pytest.mark.medium
def test_a_tokenizer_that_only_computes_is_opened(tmp_path):
    images = random_images(2, (16, 16, 3), dtype="float32")
    (tokens,) = open_tokenizer(saved_tokenizer(tmp_path / "tokenizer"))(images).values()
    np.testing.assert_array_equal(tokens, Tokenizer()(images))


@pytest.mark.medium
@pytest.mark.parametrize(
    "aside, operation",
    [
        (lambda: tf.io.write_file("/tmp/stolen", tf.io.read_file("/etc/hostname")), "ReadFile, WriteFile"),
        (lambda: tf.print("hello", output_stream="file:///tmp/stolen"), "PrintV2"),
        (lambda: tf.py_function(lambda: 0, [], tf.int32), "EagerPyFunc"),
        (
            lambda: tf.raw_ops.SaveV2(prefix="/tmp/stolen", tensor_names=["x"], shape_and_slices=[""], tensors=[1.0]),
            "SaveV2",
        ),
        (lambda: tf.data.TextLineDataset("/etc/hostname").reduce(0, lambda count, line: count + 1), "TextLineDataset"),
    ],
    ids=["files", "print", "python", "checkpoint", "data"],
)
def test_a_tokenizer_that_reaches_out_is_refused(aside, operation, tmp_path):
    path = saved_tokenizer(tmp_path / "tokenizer", aside)
    with pytest.raises(ValueError, match=f"reaches beyond its own numbers .*{operation}"):
        open_tokenizer(path)


def test_what_is_no_tokenizer(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"\x0a\xffnonsense")
    for path in ("empty", "damaged", "absent"):
        with pytest.raises(ValueError, match="is not the folder of a SavedModel") as caught:
            open_tokenizer(str(tmp_path / path))
        assert "\n" not in str(caught.value)

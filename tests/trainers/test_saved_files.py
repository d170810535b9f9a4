"""Every `.keras` file that a program leaves, and a user's own, in a process that has imported one thing."""

import glob
import importlib
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mae
from keras_mae import demo
from keras_mae.models import ImageClassifier
from keras_mae.optimizers import LARS, AdamW, WarmupCosine, WarmupMultiStep, adamw
from keras_mae.trainers import classifier_run
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import changed, replaced
from tests import base
from tests.test_dependencies import sources
from tests.trainers.labelled import quick
from tests.trainers.pretraining import CONFIG

# The README's line, for every path on the command line; and the names of all that is registered
FRESH = """
import json, sys
import keras
import keras_mae.models
found = {}
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    optimizer = type(getattr(model, "optimizer", None)).__name__
    found[path] = [type(model).__name__, optimizer, [float(abs(weight).sum()) for weight in model.get_weights()]]
print(json.dumps([found, [name for name in keras.saving.get_custom_objects() if name.startswith("keras_mae>")]]))
"""
SIMMIM = ["method=simmim", "position_embedding=None", "relative_position_bias=shared", "masking=units", "unit=8"]


def in_a_fresh_process(paths):
    done = base.run_forked("-c", FRESH, *paths)
    assert done.returncode == 0, done.stderr[-3000:]
    found, names = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found) == sorted(paths)
    for path, (_, _, sums) in found.items():
        weights = keras.saving.load_model(path).get_weights()
        np.testing.assert_allclose(sums, [np.abs(weight).sum() for weight in weights], rtol=1e-4)  # sums of float32
    return {path: (kind, optimizer) for path, (kind, optimizer, _) in found.items()}, names


def files_of(folder):
    return sorted(glob.glob(os.path.join(folder, "*.keras")))


@pytest.fixture(scope="module")
def of_programs(finished, given, tmp_path_factory):
    """The files of a pretraining run, and what fine-tuning and a probe leave, whose training is as good as done."""

    def train(*_, everywhere, on_start, **__):
        on_start(0)
        everywhere[-1].on_epoch_end(0, {"val_accuracy": 0.5, "val_loss": 1.0})  # saves the best model

    folder = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier_run, "train", train)
        for program, kind, name in ((finetune, FinetuneConfig, "tuned"), (linear_probe, ProbeConfig, "probe")):
            program(quick(kind, given, epochs=1, warmup_epochs=0.0), given["data"], str(folder / name))
    return [*files_of(finished[0].path), *files_of(folder / "tuned"), *files_of(folder / "probe")]


@pytest.fixture
def of_a_user(tmp_path):
    """Files of compiled models, their optimizers' moments included, as `ModelCheckpoint` writes them."""
    mae, classifier = base.small_mae(), ImageClassifier(base.small_encoder(), 3)
    probe = ImageClassifier(base.small_encoder(dtype="mixed_float16"), 3, num_trainable_layers=0, dtype="mixed_float16")
    optimizers = {
        "mae": adamw(mae, WarmupCosine(1e-3, 1, 10), layer_decay=0.5),
        "classifier": AdamW(WarmupMultiStep(1e-3, 1, [5]), no_weight_decay=["*/bias"]),
        "probe": LARS(0.1),
    }
    for (name, optimizer), model in zip(optimizers.items(), (mae, classifier, probe), strict=True):
        model.compile(optimizer=optimizer)
        model.optimizer.build(model.trainable_variables)
        checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / f"{name}.keras"))
        checkpoint.set_model(model)
        checkpoint.on_epoch_end(0, {})
    return files_of(tmp_path)


@pytest.mark.medium
def test_every_file_of_every_program_loads_by_the_readmes_line(of_programs, of_a_user):
    found, names = in_a_fresh_process([*of_programs, *of_a_user])
    shown = {os.sep.join(path.split(os.sep)[-2:]): kind for path, kind in found.items() if path in of_programs}
    assert shown == {
        "whole/encoder.keras": ("ViTEncoder", "NoneType"),
        "whole/model.keras": ("MaskedAutoencoder", "NoneType"),
        **{f"{run}/encoder.keras": ("ViTEncoder", "NoneType") for run in ("tuned", "probe")},
        **{f"tuned/{name}.keras": ("ImageClassifier", "NoneType") for name in ("best", "model")},
        **{f"probe/{name}.keras": ("ImageClassifier", "NoneType") for name in ("best", "model")},
    }
    assert [found[path][1] for path in of_a_user] == ["AdamW", "AdamW", "LossScaleOptimizer"]
    # nothing that the package registers anywhere is missing after that one import
    for name, _ in sources():
        if name.split(".")[1:2] and name.split(".")[1] in keras_mae._SUBPACKAGES:
            importlib.import_module(name)
    everything = [name for name in keras.saving.get_custom_objects() if name.startswith("keras_mae>")]
    everything.remove("keras_mae>PyramidBackbone")  # whose module imports KerasHub: its docstring says to import it
    assert sorted(names) == sorted(everything) and len(names) > 20


@pytest.mark.slow
def test_every_method_and_target(folder, tmp_path):
    """SimMIM, principal components, tokens of a SavedModel, and the demo."""

    class Tokenizer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)])
        def __call__(self, images):
            return {"tokens": tf.cast(images[:, ::4, ::4, 0] // 64, tf.int32)}

    tokenizer = str(tmp_path / "tokenizer")
    tf.saved_model.save(Tokenizer(), tokenizer)
    settings = {
        "simmim": SIMMIM,
        "pca": ["target=pca", "pca_components=5"],
        "tokens": ["target=tokens", f"tokenizer={tokenizer}", "vocabulary_size=4"],
    }
    short = replaced(CONFIG, epochs=1, warmup_epochs=0.0)
    for name, changes in settings.items():
        pretrain(changed(short, changes), f"folder:{folder}", str(tmp_path / name))
    tiny = (
        "encoder.hidden_dim=16",
        "encoder.num_layers=1",
        "decoder.hidden_dim=8",
        "epochs=1",
        "warmup_epochs=0",
        "batch_size=200",
    )
    demo.run_demo(str(tmp_path / "demo"), settings=tiny)
    paths = [path for name in (*settings, "demo") for path in files_of(tmp_path / name)]
    found, _ = in_a_fresh_process(paths)
    kinds = [kind for path, (kind, optimizer) in found.items() if path.endswith("model.keras")]
    assert kinds == ["SimMIM", "MaskedAutoencoder", "MaskedAutoencoder", "MaskedAutoencoder"]
    assert {optimizer for _, optimizer in found.values()} == {"NoneType"}

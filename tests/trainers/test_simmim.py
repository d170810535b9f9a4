"""SimMIM through every program: pretraining, resuming, pictures, fine-tuning, probing, neighbours and export."""

import os

import keras
import numpy as np
import pytest

from keras_mae import export
from keras_mae.models import SimMIM
from keras_mae.optimizers import WarmupCosine, WarmupMultiStep
from keras_mae.trainers import memory, recipes, run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig, from_json, to_json
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.knn import knn
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.linear_probe import build as build_probe
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.pretrain import build, draw_reconstructions, pretrain
from keras_mae.trainers.settings import changed, replaced
from tests.base import weights_of
from tests.trainers.labelled import IMAGE_SHAPE, quick
from tests.trainers.pretraining import Interrupted, after_step, interrupt, of

CONFIG = replaced(
    recipes.load("simmim_vit_base"),
    preset="vit_tiny_patch16",
    image_size=IMAGE_SHAPE[:2],
    channels=1,
    dtype_policy="float32",
    patch_size=(2, 2),
    hidden_dim=16,
    num_layers=2,
    num_heads=2,
    unit=4,
    mask_ratio=0.5,
    epochs=3,
    warmup_epochs=0.5,
    milestones=(2.0,),
    batch_size=16,
    base_learning_rate=1e-2,
    crop_ratio=1.0,
    jit_compile=False,
)


@pytest.fixture(scope="module")
def pretrained(given, tmp_path_factory):
    """A run that was interrupted in its second epoch, and resumed."""
    output = str(tmp_path_factory.mktemp("runs") / "simmim")
    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, 4, interrupt)
        with pytest.raises(Interrupted):
            pretrain(CONFIG, given["data"], output)
    return output, pretrain(CONFIG, given["data"], output, resume=True)


@pytest.mark.medium
def test_a_run_leaves_models_that_load(pretrained):
    output, model = pretrained
    assert isinstance(model, SimMIM) and int(model.optimizer.iterations) == 9
    # the third epoch has a tenth of the learning rate
    np.testing.assert_allclose(model.optimizer.learning_rate, CONFIG.optimizer.peak_learning_rate / 10, rtol=1e-6)
    folder = run.RunFolder(output)
    loaded = keras.saving.load_model(folder.model_path(run.MODEL), compile=False)
    for ours, theirs in zip(weights_of(model), weights_of(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.masking.unit == 4 and folder.config()[0] == CONFIG
    encoder = keras.saving.load_model(folder.model_path(run.ENCODER), compile=False)
    assert encoder.relative_position_bias == "shared" and encoder.positions.weights == []
    images = np.random.default_rng(0).integers(0, 256, (4, *IMAGE_SHAPE)).astype("uint8")
    draw_reconstructions(loaded, images, folder / "again.png")
    assert os.path.getsize(folder / "again.png") > 1000


@pytest.mark.medium
def test_programs_that_take_the_encoder(pretrained, given, tmp_path):
    given = {**given, "run": pretrained[0]}
    tuned = quick(
        FinetuneConfig, given, epochs=1, warmup_epochs=0.0, relative_position_bias="per_block", rand_augment=None
    )
    results = finetune(tuned, given["data"], str(tmp_path / "tuned"))
    assert 0 <= results["top1"] <= 1
    classifier = keras.saving.load_model(tmp_path / "tuned" / run.MODEL, compile=False)
    tables = [layer.table.numpy() for layer in classifier.encoder.relative_positions]
    assert len(tables) == 2 and (tables[0] != tables[1]).any()  # each has learned its own

    first = quick(ProbeConfig, given, epochs=1, warmup_epochs=0.0, layer=1, pooling="mean")
    assert 0 <= linear_probe(first, given["data"], str(tmp_path / "probe"))["top1"] <= 1
    assert 0 <= knn(quick_knn(given, layer=1), given["data"])["top1"]["5"] <= 1


def quick_knn(given, **settings):
    return replaced(KnnConfig(), run=given["run"], validation_data=given["validation_data"], k=(5,), **settings)


@pytest.mark.slow
def test_export(pretrained, tmp_path):
    _, model = pretrained
    images = np.random.default_rng(0).integers(0, 256, (4, *IMAGE_SHAPE)).astype("uint8")
    export.export_encoder(model.encoder, str(tmp_path / "encoder"), images=images)  # checks itself
    export.export_autoencoder(model, str(tmp_path / "simmim"), images=images)


@pytest.mark.medium
def test_a_probe_of_a_layer_sees_that_layers_tokens(given):
    config = quick(ProbeConfig, given, layer=1, pooling="mean")
    probe = build_probe(config, 6)
    images = np.random.default_rng(0).integers(0, 256, (4, *IMAGE_SHAPE)).astype("uint8")
    encoder = probe.encoder
    tokens = encoder.tokens_of_layer(images, 1)
    np.testing.assert_allclose(probe.features(images), np.mean(tokens.patches, axis=1), atol=1e-6)
    np.testing.assert_allclose(encoder.features(images, "cls", 1), tokens.prefix[:, 0], atol=1e-6)
    last = encoder.features(images, "mean")
    np.testing.assert_allclose(last, np.mean(encoder(images)["patch_tokens"], axis=1), atol=1e-6)
    for layer in (0, 3):
        with pytest.raises(
            ValueError,
            match=f"(layer is one of the encoder's 2 layers, counted from 1,|layer lies in).*[ .]layer={layer}",
        ):
            build_probe(replaced(config, layer=layer), 6)
    with pytest.raises(ValueError, match=r"layers are counted from 1 to 2, and come in rising order; got \[3\]"):
        encoder.features(images, layer=3)


def test_schedules():
    assert isinstance(PretrainConfig().optimizer.schedule(10), WarmupCosine)
    schedule = recipes.load("simmim_vit_base").optimizer.schedule(625)
    assert isinstance(schedule, WarmupMultiStep)
    expected = [0.0, 2e-4, 4e-4, 4e-4, 4e-5]  # 10 epochs up, then a tenth from epoch 700 on
    found = [schedule(step) for step in (0, 5 * 625, 10 * 625, 700 * 625 - 1, 700 * 625)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"milestones lie within the run: got \(700.0,\) for 100 epochs; set earlier"):
        check_together(changed(recipes.load("simmim_vit_base"), ["epochs=100"]))


def test_settings():
    config = changed(PretrainConfig(), ["method=simmim", "position_embedding=None", "relative_position_bias=shared"])
    assert config.decoder is None and changed(config, ["method=mae"]).decoder == PretrainConfig().decoder
    assert config.encoder.position_embedding is None and from_json(to_json(config)) == config
    with pytest.raises(ValueError, match="no method is called 'beit'; there are: mae, simmim"):
        changed(config, ["method=beit"])


def test_memory_counts_every_token_in_the_encoder_and_no_decoder():
    model = build(CONFIG)
    weights = sum(np.size(weight) for weight in model.weights)
    encoder = 2 * 17 * (16 * 16 + 3 * 64 + 2 * 2 * 17)  # 16 patches and the class token
    # a few biases are not counted one by one
    assert memory.estimate(CONFIG) == pytest.approx(16 * weights + 4 * 16 * encoder, rel=0.01)


def test_the_papers_recipes():
    """arXiv 2111.09886, appendix A, and its code's configurations; learning rates there are for 512 images."""
    config = recipes.load("simmim_vit_base")
    assert of(config, "masking unit mask_ratio normalize_target") == ("units", 32, 0.6, False)
    assert of(config, "epochs warmup_epochs milestones batch_size") == (800, 10, (700,), 2048)
    assert config.optimizer.peak_learning_rate == pytest.approx(1e-4 * 2048 / 512)
    assert of(config, "weight_decay clip_norm drop_path_rate beta_2 crop_scale") == (0.05, 5, 0.1, 0.999, (0.67, 1))
    assert of(config, "position_embedding relative_position_bias layer_scale") == (None, "shared", 0.1)
    plain = recipes.load("simmim_plain_vit_base")
    assert of(plain, "position_embedding relative_position_bias layer_scale") == ("learned", None, None)
    assert of(plain, "unit mask_ratio method") == (32, 0.5, "simmim")
    tuned = recipes.load("finetune_simmim_vit_base")
    assert tuned.optimizer.peak_learning_rate == pytest.approx(1.25e-3 * 2048 / 512)
    assert of(tuned, "epochs warmup_epochs batch_size layer_decay") == (100, 20, 2048, 0.65)
    assert of(tuned, "relative_position_bias drop_path_rate clip_norm") == ("per_block", 0.1, 5)
    assert tuned.optimizer.min_learning_rate == pytest.approx(2.5e-7 * 2048 / 512)
    assert of(recipes.load("probe_simmim_vit_base"), "layer pooling") == (8, "mean")

"""Runs that begin with weights: what the file tells, what is loaded, fresh, resized or measured, and refusals."""

import json
import logging
import shutil

import numpy as np
import pytest

from keras_mae.checkpoints import save_checkpoint
from keras_mae.data import measure_stats, open_source
from keras_mae.trainers import checkpoints, first_weights, run
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_choice import choose_encoder, published_encoder, with_statistics_of
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.first_weights import continued, find_weights, load_into, with_statistics
from keras_mae.trainers.knn_config import KnnEncoder
from keras_mae.trainers.memory import estimate
from keras_mae.trainers.model_parts import Transformer
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import kind_of, replaced
from keras_mae.trainers.training_parts import Weights
from tests.base import small_encoder, weights_of
from tests.trainers.initial import DECODER, LICENCE, QUICK, SIZES, write_weights
from tests.trainers.pretraining import Interrupted, after_step, interrupt, log_of, of, rewound


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def models(place):
    return write_weights(place)


def config_of(path, *settings, recipe=None, **weights):
    return continued(Weights(str(path), **weights), [*QUICK, *settings], recipe)


def same(one, other):
    return all((a == b).all() for a, b in zip(weights_of(one), weights_of(other), strict=True))


@pytest.mark.parametrize("name", ["encoder.safetensors", "mae.safetensors", "simmim.pth", "mae.keras"])
def test_the_file_tells_the_sizes(place, models, name):
    config = config_of(place / name)
    encoder = models[name.partition(".")[0]]
    encoder = getattr(encoder, "encoder", encoder)
    built = config.encoder.build("float32").get_config()
    theirs = encoder.get_config()
    # whose gains are trained, and no number of a file
    assert (built.pop("layer_scale") is None) == (theirs.pop("layer_scale") is None)
    assert {**built, "name": ""} == {**theirs, "name": ""}
    assert kind_of(config, "method") == ("simmim" if "simmim" in name else "mae")
    if "mae." in name:
        assert config.decoder == Transformer(hidden_dim=8, num_layers=1, num_heads=2)
    assert (config.run.init, config.optimizer.layer_decay, config.optimizer.epochs) == (str(place / name), 0.75, 3)
    assert config.encoder.mean is None and config.encoder.std is None


def test_settings_and_recipes_come_on_top(place, models):
    config = config_of(
        place / "encoder.safetensors", "image_size=(8,24)", "mean=(0.1,0.2,0.3)", *DECODER, recipe="mae_small_images"
    )
    assert of(config, "image_size encoder.hidden_dim mean") == ((8, 24), 16, (0.1, 0.2, 0.3))
    assert of(config, "base_learning_rate layer_decay") == (1.5e-3, None)  # the recipe's
    assert config.decoder == Transformer(8, 1, 2)


@pytest.mark.parametrize(
    ("name", "settings", "fresh"),
    [
        ("encoder.safetensors", DECODER, "the file has none"),
        ("mae.safetensors", (), None),
        ("mae.safetensors", ("image_size=(8,24)",), None),
        ("mae.safetensors", ("frozen_epochs=1",), None),
        ("mae.safetensors", ("decoder.num_layers=2",), "the file's has num_layers 1"),
        ("mae.safetensors", ("channels=1",), "the file's predicts 3 channels"),
        ("mae.safetensors", ("target=pca", "pca_components=4"), "the file's predicts pixels"),
        ("mae.safetensors", ("mask_tokens_in_encoder=True",), "the encoder sees the mask tokens"),
        ("mae.keras", (), None),
        ("simmim.pth", (), None),
        ("simmim.pth", ("method=mae", *DECODER), "the file's is one of simmim, and the method is mae"),
    ],
)
def test_what_is_loaded_and_what_is_fresh(place, models, name, settings, fresh):
    config = config_of(place / name, *settings)
    model = build(config)
    before = weights_of(model.decoder)
    config, record = load_into(model, config)
    theirs = models[name.partition(".")[0]]
    own = getattr(theirs, "encoder", theirs)
    if "channels=1" in settings:  # three times the mean of three
        kernel = np.reshape(own.patch_projection.kernel, (16, 3, 16)).sum(axis=1)
        np.testing.assert_allclose(model.encoder.patch_projection.kernel, kernel, rtol=1e-5)  # sums in another order
    elif "image_size=(8,24)" in settings:
        assert record["summary"]["resized"] == ["encoder.positions.table", "decoder.positions.table"]
        assert same(model.encoder.blocks[1], own.blocks[1])
    else:
        assert same(model.encoder, own)
    frozen = {"frozen_epochs=1": 1.0}.get(settings[0] if settings else "", 0.3 if fresh else 0.0)
    assert config.optimizer.frozen_epochs == pytest.approx(frozen)
    assert json.loads(json.dumps(record))["source"] == str(place / name)
    started_fresh = [path for path in record["summary"]["fresh"] if "decoder" in path]
    assert bool(started_fresh) == bool(fresh)
    if fresh is None and "image_size=(8,24)" not in settings:
        assert same(model.decoder, theirs.decoder)
        assert not hasattr(model, "mask_token") or (model.mask_token == theirs.mask_token).numpy().all()
    elif fresh is not None:
        assert all((a == b).all() for a, b in zip(before, weights_of(model.decoder), strict=True))


def test_why_a_decoder_is_fresh_is_said(place, models, caplog):
    caplog.set_level(logging.INFO, logger="keras_mae")
    load_into(build(config := config_of(place / "encoder.safetensors", *DECODER)), config)
    said = "the decoder starts fresh, as the file has none; for the first 0.3 epochs it learns alone, and the encoder"
    assert any(record.message.startswith(said) for record in caplog.records)
    assert any("its format is 'timm', by the names" in record.message for record in caplog.records)
    load_into(build(config), replaced(config, frozen_epochs=0.0))
    assert caplog.records[-1].message.endswith("together with the encoder from the first step (--set frozen_epochs=0)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ("encoder.hidden_dim=24", "encoder.num_layers=1"),
            "encoder.safetensors is another than this run's: hidden_dim is 16 there, and 24 here; num_layers is 2 "
            "there, and 1 here; leave these settings out, as the file tells them, or begin without --init",
        ),
        (("encoder.num_heads=4",), "num_heads is 2 there, and 4 here"),
        (("patch_size=(8,8)",), r"patch_size is \(4, 4\) there, and \(8, 8\) here"),
        (("num_cls_tokens=0",), "num_cls_tokens is 1 there, and 0 here"),
        (
            ("preset=vit_tiny_patch16",),
            r"patch_size is \(4, 4\) there, and 16 here; hidden_dim is 16 there, and 192 here",
        ),
        (("layer_scale=0.1",), "layer_scale is None there, and 0.1 here"),
    ],
)
def test_sizes_that_contradict_the_file(place, models, settings, message):
    with pytest.raises(ValueError, match=message):
        config_of(place / "encoder.safetensors", *DECODER, *settings)
    config = config_of(place / "encoder.safetensors", *DECODER)
    with pytest.raises(ValueError, match="is another than this run's: num_heads is 2 there, and 4 here"):  # in Python
        load_into(build(other := replaced(config, **{"encoder.num_heads": 4})), other)


def test_heads_that_no_file_tells_are_asked_for(place, models, tmp_path):
    """Hugging Face's names without a config.json; the width is none of a published model."""
    path = tmp_path / "encoder.safetensors"
    save_checkpoint(models["encoder"], path, "timm")
    without_metadata(path)
    with pytest.raises(ValueError, match=r"does not tell num_heads of its model: type --set encoder.num_heads=\.\.\."):
        config_of(path, *DECODER)
    config = config_of(path, *DECODER, "encoder.num_heads=2")
    assert config.encoder.num_heads == 2
    load_into(build(config), config)

    small = replaced(FinetuneConfig(), init=str(path))
    with pytest.raises(ValueError, match=r"does not tell num_heads of its model: type --set num_heads=\.\.\."):
        choose_encoder(small)
    encoder, _ = choose_encoder(replaced(small, num_heads=2))
    assert same(encoder, models["encoder"])
    with pytest.raises(ValueError, match="does not tell num_heads .*: make a .keras file of it by keras-mae convert"):
        published_encoder(own := KnnEncoder(init=str(path)), find_weights(own))


def test_everything_that_no_file_tells_is_asked_for_at_once(place, models, tmp_path):
    path = tmp_path / "mae.safetensors"
    shutil.copy(place / "mae.safetensors", path)
    without_metadata(path)
    with pytest.raises(
        ValueError, match=r"num_heads and decoder.num_heads of its model: type --set encoder.num_heads="
    ):
        config_of(path)
    assert config_of(path, "encoder.num_heads=2", "decoder.num_heads=2").decoder.num_heads == 2


def without_metadata(path):
    from safetensors.numpy import load_file, save_file

    save_file(load_file(path), path)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_mean_and_std_are_those_of_the_images(place, models, channels, tmp_path):
    config = config_of(place / "encoder.safetensors", f"channels={channels}", *DECODER)
    source, folder = open_source(f"npz:{place / f'{channels}.npz'}"), run.RunFolder(str(tmp_path / "run"))
    measured = with_statistics(config, source, channels, folder, False, photographs=channels == 3)
    if channels == 3:
        assert measured == config
        return
    stats = measure_stats(source, channels)
    assert (measured.encoder.mean, measured.encoder.std) == (stats.mean, stats.std)
    set_before = replaced(config, mean=(0.25,) * channels)
    half = with_statistics(set_before, source, channels, folder, False, photographs=False)
    assert (half.encoder.mean, half.encoder.std) == ((0.25,) * channels, stats.std)
    folder.start(replaced(measured, mean=(0.75,) * channels), "digits", False, False)
    resumed = with_statistics(config, source, channels, folder, True, photographs=False)
    assert (resumed.encoder.mean, resumed.encoder.std) == ((0.75,) * channels, stats.std)


def test_a_classifier_on_published_weights(place, models):
    own = {"init": str(place / "encoder.safetensors"), "image_size": (8, 24), "channels": 1}
    config = with_statistics_of(
        replaced(FinetuneConfig(), **own), open_source(f"npz:{place / '1.npz'}"), run.RunFolder("nowhere"), False
    )
    encoder, record = choose_encoder(config, 0.2)
    assert (encoder.image_shape, encoder.drop_path_rate) == ((8, 24, 1), 0.2)
    assert encoder.normalize_pixels.mean == config.encoder.mean != (0.5,)
    assert same(encoder.blocks[1], models["encoder"].blocks[1])
    assert record["licence"] == LICENCE and "encoder.positions.table" in record["summary"]["resized"]
    assert estimate(config) > 0

    as_they_are = replaced(FinetuneConfig(), init=own["init"], hidden_dim=16, patch_size=(4, 4))
    assert same(choose_encoder(as_they_are)[0], models["encoder"])
    with pytest.raises(ValueError, match="another than the recipe's: hidden_dim: 16 there, 768 asked for; num_layers"):
        choose_encoder(replaced(FinetuneConfig(), init=own["init"], preset="vit_base_patch16", patch_size=(4, 4)))


def test_16_bits_are_no_photographs(place, models, tmp_path):
    images = np.random.default_rng(0).integers(0, 4000, (24, 16, 16, 3), "uint16")
    np.savez(tmp_path / "deep.npz", images=images)
    source = open_source(f"npz:{tmp_path / 'deep.npz'}")
    config = replaced(FinetuneConfig(), init=str(place / "encoder.safetensors"))
    measured = with_statistics_of(config, source, run.RunFolder("nowhere"), False).encoder
    stats = measure_stats(source, 3)
    assert (measured.mean, measured.std) == (stats.mean, stats.std) and stats.dtype == "uint16"


def test_a_path_that_is_typed_in_two_ways(place, models, tmp_path):
    folder = run.RunFolder(str(tmp_path / "run"))
    names = [str(place / "mae.safetensors"), f"{place}/./mae.safetensors", str(place / "encoder.safetensors")]
    for name, resume in zip(names[:2], (False, True), strict=True):
        config = replaced(PretrainConfig(), init=name)
        folder.start(config, "digits", resume, False, init={"source": name, "digest": "0"})
    with pytest.raises(ValueError, match=r"mae.safetensors, not of .*encoder.safetensors"):
        folder.check_init(names[2])


def test_statistics_that_nothing_tells(place, models, tmp_path):
    path = tmp_path / "four.safetensors"
    save_checkpoint(models["four"], path, "timm")
    encoder, _ = published_encoder(own := KnnEncoder(init=str(path)), find_weights(own))  # our own files tell them
    assert encoder.normalize_pixels.mean == (0.5,) * 4
    without_metadata(path)
    own = KnnEncoder(init=str(path))
    with pytest.raises(ValueError, match="does not tell mean and std of its 4 channels: make a .keras file that holds"):
        published_encoder(own, find_weights(own))


def test_a_keras_file_is_as_good_as_a_run(place, models):
    encoder, record = choose_encoder(replaced(FinetuneConfig(), init=str(place / "mae.keras")))
    assert same(encoder, models["mae"].encoder)
    assert record["digest"] == run.digest_of(str(place / "mae.keras")) and record["licence"] is None


@pytest.fixture(scope="module")
def continued_run(place, models):
    """A run of six steps that began with the encoder, and keeps all checkpoints: its folder, config, and model; and
    the encoder after two steps, which leave it as it is.
    """
    output, seen, load = str(place / "continued"), [], first_weights.load_into
    settings = ("frozen_epochs=1", "warmup_epochs=0.5", "batch_size=12", "checkpoint_steps=1", *DECODER)
    config = config_of(place / "encoder.safetensors", *settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_mae.trainers.pretrain.load_into", lambda *given: seen.append(given[0]) or load(*given))
        patch.setattr(checkpoints, "_KEPT", 6)
        after_step(patch, 2, lambda: seen.append(weights_of(seen[0].encoder)))
        model = pretrain(config, f"npz:{place / '3.npz'}", output)
    return output, config, model, seen[1]


@pytest.mark.medium
def test_the_encoder_is_frozen_first_and_a_resume_gives_the_same(place, models, continued_run, tmp_path):
    """Resumed within the frozen epoch, across its end."""
    finished, config, whole, frozen = continued_run
    assert all((one == other).all() for one, other in zip(frozen, weights_of(models["encoder"]), strict=True))
    output = rewound(finished, str(tmp_path / "run"), 1)
    resumed = pretrain(config, f"npz:{place / '3.npz'}", output, resume=True)
    for one, other in zip(weights_of(resumed), weights_of(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)  # as `assert_finished_alike`
    assert [record["step"] for record in log_of(run.RunFolder(output))] == [2, 4, 6]
    assert not same(whole.encoder, models["encoder"])


@pytest.mark.medium
def test_what_a_run_says_of_its_weights(place, continued_run):
    output, config, *_ = continued_run
    folder = run.RunFolder(output)
    init = folder.init()
    assert init["digest"] == run.digest_of(str(place / "encoder.safetensors"))
    assert (init["source"], init["format"], init["licence"]) == (config.run.init, "timm", LICENCE)
    assert len(init["summary"]["loaded"]) == init["summary"]["count"] == 30
    assert any("decoder" in path for path in init["summary"]["fresh"])
    there, _ = folder.config()
    assert there == replaced(config, dtype_policy="float32")  # for auto


@pytest.mark.medium
def test_a_licence_goes_from_run_to_run(place, continued_run, tmp_path, monkeypatch):
    """By --run and by --init, and in a file that is copied."""
    output, *_ = continued_run
    shutil.copy(run.RunFolder(output).model_path(run.ENCODER), tmp_path / "copy.keras")
    monkeypatch.setattr("keras_mae.trainers.classifier_run.train", lambda *_, **__: interrupt())
    plain = {"crop_scale": None, "flip": False, "batch_size": 8, "warmup_epochs": 0.0}
    for name, of_source in {
        "run": {"run": output}, "init": {"init": output}, "copy": {"run": str(tmp_path / "copy.keras")}
    }.items():  # fmt: skip
        tuned = run.RunFolder(str(tmp_path / name))
        with pytest.raises(Interrupted):
            finetune(replaced(FinetuneConfig(), **of_source, **plain), f"npz:{place / '3.npz'}", tuned.path)
        init = tuned.init()
        assert (init["source"], init["licence"]) == (*of_source.values(), LICENCE)
        assert ("digest" in init) == (name == "init")


@pytest.mark.medium
def test_a_run_is_resumed_with_the_weights_that_it_began_with(place, models, continued_run):
    output, config, *_ = continued_run
    data = f"npz:{place / '3.npz'}"
    other = replaced(config, init=str(place / "mae.safetensors"))
    for wrong, message in (
        (
            replaced(config, init=None),
            r"began with weights of .*encoder.safetensors: continue it with the command line",
        ),
        (other, r"began with weights of .*encoder.safetensors, not of .*mae.safetensors: --resume continues it with"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(wrong, data, output, resume=True)
    with pytest.raises(ValueError, match="did not begin with --init, and --resume takes the weights of its checkpoint"):
        folder = run.RunFolder(str(place / "fresh"))
        folder.start(PretrainConfig(), data, False, False)
        folder.start(PretrainConfig(), data, True, False, init={"source": "x", "digest": "0"})
    save_checkpoint(small_encoder(**{**SIZES, "num_heads": 4}), place / "other.safetensors", "timm")
    folder = run.RunFolder(str(place / "changed"))
    folder.start(PretrainConfig(), data, False, False, init={"source": "x", "digest": "0"})
    with pytest.raises(ValueError, match=r"x holds other weights than those that the run in .*changed began with"):
        folder.start(PretrainConfig(), data, True, False, init={"source": "x", "digest": "1"})

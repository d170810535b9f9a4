"""Presets filled from files and URLs: the cache, checksums, licences, and no network."""

import functools
import hashlib
import http.server
import logging
import re
import threading

import keras
import numpy as np
import pytest

import keras_mae
from keras_mae.checkpoints import FORMATS, KNOWN_FILES, KnownFile, known_files
from keras_mae.encoders.presets import VIT_PRESETS
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from tests.base import fill_randomly, weights_of

SIZES = {"image_shape": (32, 32, 3), "hidden_dim": 16, "num_layers": 1, "num_heads": 2}


@pytest.fixture
def encoder():
    return fill_randomly(ViTEncoder.from_preset("vit_tiny_patch16", **SIZES))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder, its URL, and the requests that were made; Keras' cache is empty."""
    folder = tmp_path / "web"
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    get_file = functools.partial(keras.utils.get_file, cache_dir=str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    yield folder, f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch):
    monkeypatch.setattr(known_files, "_told", set())


def same(model, other):
    for variable, expected in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(variable, expected)


def test_presets_take_a_file(encoder, tmp_path):
    mae = fill_randomly(MaskedAutoencoder.from_preset("mae_vit_tiny_patch16", MAEDecoder(8, 1, 2), **SIZES))
    path = str(tmp_path / "mae.pth")
    keras_mae.save_checkpoint(mae, path, "mae_torch")
    encoder = ViTEncoder.from_preset("vit_tiny_patch16", **SIZES)
    keras_mae.load_checkpoint(encoder, path, "mae_torch")
    same(encoder, mae.encoder)
    copy = MaskedAutoencoder.from_preset("mae_vit_tiny_patch16", MAEDecoder(8, 1, 2), **SIZES)
    keras_mae.load_checkpoint(copy, path, "mae_torch")
    same(copy, mae)
    classifier = ImageClassifier.from_preset("vit_tiny_patch16", 10, **SIZES)
    keras_mae.load_checkpoint(classifier, path, "mae_torch", skip=("head.*",))
    same(classifier.encoder, mae.encoder)
    larger = ViTEncoder.from_preset("vit_tiny_patch16", **{**SIZES, "image_shape": (64, 64, 3)})
    keras_mae.load_checkpoint(larger, path, "mae_torch", resize_positions=True)


def test_a_url_is_downloaded_once(encoder, web):
    folder, url, requests = web
    keras_mae.save_checkpoint(encoder, str(folder / "model.safetensors"), "timm")
    address = f"{url}/model.safetensors"
    for _ in range(2):
        copy = ViTEncoder.from_preset("vit_tiny_patch16", **SIZES)
        keras_mae.load_checkpoint(copy, address, "timm")
        same(copy, encoder)
    assert requests == ["/model.safetensors"]


def known(monkeypatch, url, md5):
    entry = KnownFile("known", url, "timm", "vit_tiny_patch16", 1, md5, "cc-by-nc-4.0", "encoder")
    monkeypatch.setattr(known_files, "KNOWN_FILES", (entry,))


def test_a_known_file_is_checked_and_its_licence_told_once(encoder, web, monkeypatch, caplog):
    folder, url, _ = web
    keras_mae.save_checkpoint(encoder, str(folder / "model.safetensors"), "timm")
    digest = hashlib.md5((folder / "model.safetensors").read_bytes()).hexdigest()
    known(monkeypatch, f"{url}/model.safetensors", digest[:6])
    for _ in range(2):
        keras_mae.load_checkpoint(encoder, f"{url}/model.safetensors", "timm")
    told = [record for record in caplog.records if "cc-by-nc" in record.message]
    assert len(told) == 1 and told[0].levelno == logging.WARNING


def test_another_checksum_is_refused_and_not_kept(encoder, web, monkeypatch, tmp_path):
    folder, url, requests = web
    keras_mae.save_checkpoint(encoder, str(folder / "model.safetensors"), "timm")
    known(monkeypatch, f"{url}/model.safetensors", "000000")
    for count in (1, 2):
        with pytest.raises(ValueError, match="should begin with 000000"):
            keras_mae.load_checkpoint(encoder, f"{url}/model.safetensors", "timm")
        assert len(requests) == count
    assert not [path for path in (tmp_path / "keras_mae").rglob("*") if path.is_file()]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/model.safetensors", "{web}/nothing.safetensors"])
def test_without_a_network_the_remedy_is_named(address, encoder, web):
    address = address.format(web=web[1])
    with pytest.raises(ValueError, match=f"could not download {re.escape(address)} .*pass its path"):
        keras_mae.load_checkpoint(encoder, address, "timm")


def test_the_licence_of_an_official_file_is_told_by_its_name(encoder, tmp_path, caplog):
    path = str(tmp_path / "mae_pretrain_vit_base.pth")
    keras_mae.save_checkpoint(encoder, path, "mae_torch")
    keras_mae.load_checkpoint(encoder, path, "mae_torch")
    assert "cc-by-nc-4.0" in caplog.text
    other = str(tmp_path / "model.safetensors")
    keras_mae.save_checkpoint(encoder, other, "timm")
    caplog.clear()
    keras_mae.load_checkpoint(encoder, other, "timm")
    assert "cc-by-nc" not in caplog.text


# width, layers, patch, of the encoder; the sizes of the decoder are the published ones
COUNTS = {name: (each["hidden_dim"], each["num_layers"], each["patch_size"]) for name, each in VIT_PRESETS.items()}


def blocks(width, count):
    return count * (12 * width**2 + 13 * width)


def megabytes(entry):
    """4 bytes for each parameter, counted by hand."""
    width, layers, patch = COUNTS[entry.preset.removeprefix("mae_")]
    values, patches = 3 * patch**2, (224 // patch) ** 2
    count = values * width + width + width + (patches + 1) * width + blocks(width, layers) + 2 * width
    if "decoder" in entry.holds:
        inside = width * 512 + 512 + 512 + (patches + 1) * 512 + blocks(512, 8) + 2 * 512
        count += inside + 512 * values + values
    if "classifier" in entry.holds:
        count += 1000 * width + 1000
    return 4 * count / 1e6


@pytest.mark.parametrize("entry", KNOWN_FILES, ids=lambda entry: entry.url.rpartition(".com/")[2].partition("/")[2])
def test_the_table_is_consistent(entry):
    assert entry.format in FORMATS and entry.url.startswith("https://")
    assert entry.preset.removeprefix("mae_") in VIT_PRESETS
    assert entry.preset.startswith("mae_") == ("decoder" in entry.holds)
    assert entry.md5 is None or re.fullmatch("[0-9a-f]{6}", entry.md5)
    assert round(megabytes(entry)) == entry.megabytes
    assert len({each.url for each in KNOWN_FILES}) == len(KNOWN_FILES)

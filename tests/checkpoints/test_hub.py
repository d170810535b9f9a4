"""Weights by name, folder and repository: a stand-in for the Hub, a cache without a network, and licences."""

import builtins
import os

import pytest

import keras_mae
from keras_mae.checkpoints import KNOWN_FILES, hub, known_files, licences
from keras_mae.checkpoints.known_files import licence_of, local_path
from tests.base import fill_randomly, weights_of
from tests.hub_server import COMMIT, hub_server  # noqa: F401  a fixture


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch):
    monkeypatch.setattr(known_files, "_told", set())


def encoder():
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2}
    return fill_randomly(keras_mae.ViTEncoder(image_shape=(8, 8, 3), patch_size=4, **sizes))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """The files of a repository by name, and the encoder in it."""
    folder, model = tmp_path_factory.mktemp("snapshot"), encoder()
    keras_mae.save_checkpoint(model, str(folder / "model.safetensors"), "hf")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ntags: [vit]\n---\n# A model\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}, model


def test_a_repository_is_downloaded_once(hub_server, snapshot, caplog):  # noqa: F811
    files, model = snapshot
    hub_server.repositories["someone/vit"] = {**files, "tf_model.h5": b"large"}
    path = local_path("hf://someone/vit")
    assert sorted(os.listdir(os.path.dirname(path))) == ["README.md", "config.json", "model.safetensors"]
    assert licence_of("hf://someone/vit", path) == "cc-by-nc-4.0" and "excludes commercial use" in caplog.text
    before = len(hub_server.requests)
    copy = encoder()
    keras_mae.load_checkpoint(copy, f"hf://someone/vit@{COMMIT}/model.safetensors", "hf")
    for variable, expected in zip(weights_of(copy), weights_of(model), strict=True):
        assert (variable == expected).all()
    assert not [path for _, path in hub_server.requests[before:] if "/resolve/" in path]
    assert caplog.text.count("excludes commercial use") == 1


def test_what_is_in_the_cache_needs_no_network(hub_server, snapshot):  # noqa: F811
    hub_server.repositories["someone/vit"] = snapshot[0]
    hub_server.repositories["someone/partly"] = {"config.json": b"{}", "model.safetensors": b"x", "a.bin": b"x"}
    path, partly = local_path("hf://someone/vit"), local_path("hf://someone/partly/a.bin")
    hub_server.failures["/"] = None
    assert local_path("hf://someone/vit") == path
    assert local_path("hf://someone/vit/model.safetensors") == path
    assert local_path("hf://someone/partly/a.bin") == partly
    for other in ("hf://someone/other", "hf://someone/partly/model.safetensors"):
        with pytest.raises(ValueError, match=f"could not download {other} .*pass the path of their folder") as error:
            local_path(other)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://someone/nothing", "there is no repository someone/nothing, or it is private; .*hf auth login"),
        ("hf://someone/vit/model.bin", "there is no file model.bin among config.json, "),
        ("hf://someone/gated", "ask for consent .* hf auth login"),
        ("hf://someone/vit@old", "someone/vit has no revision old"),
        ("hf://vit", "written hf://OWNER/NAME, with @REVISION or /FILE behind it; got hf://vit"),
        ("hf://someone/shards", r"in several files \(model.safetensors.index.json\), which is not supported"),
    ],
)
def test_what_cannot_be_downloaded_is_said_in_a_line(hub_server, source, message):  # noqa: F811
    hub_server.repositories["someone/vit"] = {"config.json": b"{}", "model.safetensors": b"x"}
    hub_server.repositories["someone/shards"] = {"model.safetensors.index.json": b"{}", "model-1.safetensors": b""}
    hub_server.failures["someone/gated"] = (403, {"X-Error-Code": "GatedRepo"})
    hub_server.failures["revision/old"] = (404, {"X-Error-Code": "RevisionNotFound"})
    with pytest.raises(ValueError, match=message) as error:
        local_path(source)
    assert "\n" not in str(error.value)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    def imported(name, *arguments, **keywords):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", imported)
    with pytest.raises(ValueError, match=r"to download hf://a/b: pip install 'keras-mae\[hub\]'"):
        local_path("hf://a/b")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hf://a/b", ("a/b", None, None)),
        ("hf://a/b@main", ("a/b", "main", None)),
        ("hf://a/b.c/d/e.bin", ("a/b.c", None, "d/e.bin")),
        ("hf://a/b@refs/pr/1/e.bin", ("a/b", "refs/pr/1", "e.bin")),
    ],
)
def test_parts_of_a_source(source, parts):
    assert hub.parse(source) == hub.Source(*parts)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["pytorch_model.bin", "model.safetensors", "other.safetensors"], "model.safetensors"),
        (["model.safetensors.index.json", "pytorch_model.bin"], "pytorch_model.bin"),
        (["teacher.safetensors", "a.pth", "b.pth", "config.json"], "teacher.safetensors"),
        (["encoder.keras", "README.md"], "encoder.keras"),
    ],
)
def test_the_file_of_a_folder(names, chosen):
    assert hub.choose_file(names, "here") == chosen


def test_folders_without_one_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no file of weights .*, but nothing"):
        local_path(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match="several files of weights: a.safetensors, b.safetensors; name one, such as"):
        local_path(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert local_path(tmp_path) == str(tmp_path / "model.safetensors")


def test_names_of_published_weights(monkeypatch, tmp_path):
    fetched = []
    monkeypatch.setattr(known_files, "_download", lambda url, known: fetched.append(url) or "file")
    for known in KNOWN_FILES:
        assert local_path(known.name) == "file" and licence_of(known.name, "file") == "cc-by-nc-4.0"
    assert fetched == [known.url for known in KNOWN_FILES]
    assert len({known.name for known in KNOWN_FILES}) == len(KNOWN_FILES)
    with pytest.raises(ValueError, match="no published weights have this name; did you mean mae_vit_base or "):
        local_path("mae_vit_bas")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mae_vit_base").mkdir()  # a folder of this name is meant
    (tmp_path / "mae_vit_base" / "model.safetensors").write_bytes(b"x")
    assert local_path("mae_vit_base") == os.path.join("mae_vit_base", "model.safetensors")


@pytest.mark.parametrize("name", ["e.safetensors", "e.pth", "e.keras"])
def test_a_licence_is_in_the_file(name, tmp_path):
    form = "keras" if name.endswith(".keras") else "timm"
    path, model = str(tmp_path / name), encoder()
    keras_mae.save_checkpoint(model, path, form)
    assert licence_of(path, path) is None
    keras_mae.save_checkpoint(model, path, form, licence="cc-by-nc-4.0")
    assert licence_of(path, path) == "cc-by-nc-4.0"
    copy = encoder()
    keras_mae.load_checkpoint(copy, path, form)
    converted = str(tmp_path / "converted.safetensors")
    arguments = {} if form == "keras" else {"preset": "vit_tiny_patch16", **_sizes(model)}
    keras_mae.checkpoints.convert_checkpoint(path, form, converted, "mae_torch", **arguments)
    assert licence_of(converted, converted) == "cc-by-nc-4.0"


def _sizes(model):
    names = ("image_shape", "patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim")
    return {name: getattr(model, name) for name in names}


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("license: apache-2.0\ntags:\n- vit", "apache-2.0"),
        ("license: 'mit' # ours", "mit"),
        ("license:\n  - mit\n  - cc-by-nc-4.0", "mit, cc-by-nc-4.0"),
        ("license: [mit, gpl-3.0]", "mit, gpl-3.0"),
        ("license: other\nlicense_name: dinov3-license\nlicense_link: x", "dinov3-license"),
        ("license: other", "other"),
        ("tags: [license]", None),
    ],
)
def test_the_licence_in_a_model_card(head, licence, tmp_path):
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n\nlicense: not this\n---\n")
    assert licences.licence_beside(str(tmp_path / "model.bin")) == licence
    (tmp_path / "README.md").write_text(f"# Title\n{head}\n")
    assert licences.licence_beside(str(tmp_path / "model.bin")) is None


@pytest.mark.parametrize(
    "source",
    [
        "hf://facebook/vit-mae-base",
        "hf://facebook/vit-mae-huge@main/pytorch_model.bin",
        "hf://timm/vit_base_patch16_224.mae",
        "https://huggingface.co/facebook/vit-mae-large/resolve/main/model.safetensors",
        "/cache/models--facebook--vit-mae-base/snapshots/0/pytorch_model.bin",
        "/cache/models--facebook--vit-mae-base/snapshots/0",
        "/files/mae_pretrain_vit_base.pth",
        "mae_vit_base",
    ],
)
def test_conversions_keep_the_licence_of_the_official_weights(source, tmp_path):
    """The card of facebook/vit-mae-base names another one."""
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert licence_of(source, str(tmp_path / "model.bin")) == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("licence", "condition"),
    [
        *((free, None) for free in ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "MIT")),
        *(
            (no, "excludes commercial")
            for no in ("cc-by-nc-4.0", "fair-noncommercial-research-license", "CC BY-NC 4.0")
        ),
        *((other, "conditions of its own") for other in ("dinov3-license", "other", "gpl-3.0", "openrail")),
        ("mit, cc-by-nc-4.0", "excludes commercial"),
    ],
)
def test_conditions(licence, condition):
    said = licences.condition_of(licence)
    assert said is None if condition is None else condition in said


def test_a_damaged_file_has_no_licence(tmp_path):
    for name in ("a.safetensors", "a.pth", "a.keras"):
        (tmp_path / name).write_bytes(b"damaged")
        assert licence_of(tmp_path / name, str(tmp_path / name)) is None

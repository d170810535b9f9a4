"""`keras-mae card` and `push`, on runs that were never trained: a folder's files are all that they read."""

import json
import os
import re
import shlex

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.checkpoints.known_files import licence_of
from keras_mae.commands import run_facts
from keras_mae.data import open_source
from keras_mae.data.seen import Seen
from keras_mae.models import ImageClassifier
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers import pictures, recipes, run
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.pretrain import build
from keras_mae.trainers.settings import changed
from tests.base import fill_randomly
from tests.drawn import TINY, as_image, drawn
from tests.export.test_model_card import executed
from tests.hub_server import hub_server  # noqa: F401  a fixture
from tests.typed import refused

KNN = KnnConfig()
CONFIG = changed(recipes.load("mae_small_images"), [*TINY, "mask_ratio=0.5", "masking=units", "unit=8"])


def write_run(path, config, data, model, labelled=False, init=None):
    """A folder like that of a finished run."""
    folder = run.RunFolder(str(path))
    folder.start(config, data, False, False, Seen(open_source(data)))
    model.save(folder / run.MODEL)
    model.encoder.save(folder / run.ENCODER)
    if init is not None:
        with open(folder / run.CONFIG) as file:
            record = json.load(file)
        folder.write_json(run.CONFIG, {**record, "init": init})
    with open(folder / run.LOG, "w") as file:
        file.writelines(
            json.dumps({"epoch": n, "loss": loss}) + "\n" for n, loss in enumerate([1.5, float("nan"), 0.75])
        )
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a pretraining run, and a fine-tuning run on its encoder."""
    root = tmp_path_factory.mktemp("private place")
    images, labels = np.stack([drawn(20, 24, seed=number) for number in range(6)]), np.arange(6) % 2
    np.savez(root / "pictures.npz", images=images, labels=labels)
    data = f"npz:{root / 'pictures.npz'}"
    model = fill_randomly(build(CONFIG))
    pretrained = write_run(root / "pre", CONFIG, data, model)
    os.makedirs(pretrained / run.PICTURES)
    for epoch in (2, 10):
        pictures.save(
            as_image(drawn(8, 8, seed=epoch)), os.path.join(pretrained / run.PICTURES, f"epoch_{epoch:04}.png")
        )
    tuned = changed(recipes.load("finetune_small_images"), ["preset=None", f"encoder.run={pretrained.path}"])
    classifier = fill_randomly(ImageClassifier(model.encoder, 2))
    folder = write_run(root / "tuned", tuned, data, classifier)
    fill_randomly(classifier, seed=3).save(folder / run.BEST)
    results = {"program": "finetune", "top1": 0.5, "best": {"epoch": 2, "top1": 0.75, "loss": 1.0}, "epochs": 3}
    folder.write_json(run.RESULTS, {**results, "majority_share": 0.5, "validation_images": 4})
    return root


def card(capfd, *arguments):
    """Runs `keras-mae card`; returns the card."""
    assert cli.main(["card", *map(str, arguments)]) == 0
    output = next(word.partition("=")[2] for word in map(str, arguments) if word.startswith("--output="))
    assert capfd.readouterr().out.startswith(f"wrote {output}: README.md, config.json, ")
    with open(os.path.join(output, "README.md")) as file:
        return file.read()


def test_what_the_demo_has_measured(tmp_path):
    """Of its encoder alone; its results have another form than those of the other programs."""
    folder = run.RunFolder(str(tmp_path))
    accuracies = {"pretrained encoder": {"linear_probe": 0.966, "knn": 0.949}, "raw pixels": {"knn": 0.94}}
    folder.write_json(run.RESULTS, {"recipe": "mae_digits", "majority_share": 0.1, "accuracy": accuracies})
    assert run_facts.quality_of(folder, []) == [
        ("logistic regression on its features (keras-mae demo, 1,000 other digits)", "96.6 %"),
        ("kNN on its features (keras-mae demo, 1,000 other digits)", "94.9 %"),
    ]


def assert_lines_give_the_tokens(text, path):
    """The card's lines for every library, against the encoder in a file."""
    found, images = executed(text)
    tokens = load_model_file(str(path))(images)
    expected = np.concatenate([tokens["cls_token"][:, None], tokens["patch_tokens"]], axis=1)
    assert set(found) == {"Keras", "timm", "transformers"}
    for library, values in found.items():
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=library)


@pytest.mark.medium
def test_the_card_of_a_pretraining_run(runs, capfd, caplog, tmp_path, monkeypatch):
    output = tmp_path / "new" / "card"
    text = card(capfd, f"--run={runs / 'pre'}", f"--output={output}", "--licence=mit")
    assert text.startswith("---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: image-feature-extraction\n")
    assert (
        "- masked-image-modeling\n- mae\n" in text and "\n# card\n\nThe encoder of a masked autoencoder (MAE)" in text
    )
    files = ["README.md", "config.json", "epoch_0010.png", "loss.png", "model.safetensors", "timm.safetensors"]
    assert sorted(os.listdir(output)) == files and os.listdir(output.parent) == ["card"]
    assert "the card shows training images, in epoch_0010.png" in caplog.text
    assert "- source: `npz:pictures.npz`\n- images: 6\n- bits a channel: 8\n- size: 16 x 16 pixels, 3 channels" in text
    assert "private place" not in text and "trained from scratch; they are their author's own." in text
    assert "- epochs: 3\n- images in a batch: 8\n" in text and "- last loss: 0.75" in text
    (command,) = re.findall("```sh\n(.*)\n```", text)
    words = shlex.split(command)
    typed = [word for before, word in zip(words, words[1:]) if before == "--set"]
    assert words[:5] == ["keras-mae", "pretrain", "--data=DATA", "--output=RUN", "--recipe=mae_small_images"]
    assert changed(recipes.load("mae_small_images"), typed) == CONFIG
    monkeypatch.chdir(output)
    assert_lines_give_the_tokens(text, runs / "pre" / "encoder.keras")
    line = refused(capfd, "card", f"--run={runs / 'pre'}", f"--output={output}")
    assert "is there already, and is not empty: name another --output" in line
    assert licence_of(output, str(output / "model.safetensors")) == "mit"


@pytest.mark.medium
def test_the_card_of_a_classifier_has_its_best_epoch(runs, capfd, caplog, tmp_path, monkeypatch):
    output = tmp_path / "card"
    text = card(capfd, f"--run={runs / 'tuned'}", f"--output={output}")
    assert "license: other\nlibrary_name: timm\npipeline_tag: image-classification\n" in text
    assert (
        "the card names no licence (license: other): name that of your weights with --licence=apache-2.0" in caplog.text
    )
    assert "A classifier of 2 classes, from the epoch that was the best on the images to test on" in text
    where = "finetune, 4 images of `npz:pictures.npz`"
    assert f"| top-1 ({where}, the best of 3 epochs on these images) | 75.0 % |\n" in text
    assert f"| always the largest class ({where}) | 50.0 % |\n" in text and "50.0 %" in text
    assert "--run=pre --recipe=finetune_small_images" in text
    monkeypatch.chdir(output)
    found, images = executed(text)
    expected = load_model_file(str(runs / "tuned" / "best.keras"))(images)
    assert set(found) == {"Keras", "timm", "transformers"}
    for library, values in found.items():
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=library)


@pytest.mark.medium
def test_results_of_other_runs(runs, capfd, tmp_path):
    config = changed(recipes.load("probe_small_images"), ["preset=None", f"encoder.run={runs / 'pre'}"])
    data, model = f"npz:{runs / 'pictures.npz'}", load_model_file(str(runs / "tuned" / "model.keras"))
    probe = write_run(tmp_path / "probe", config, data, model)
    arguments = [f"--run={runs / 'pre'}", f"--output={tmp_path / 'card'}", f"--results={probe.path}"]
    assert f"{probe.path} has no results.json: the run has not finished" in refused(capfd, "card", *arguments)
    probe.write_json(run.RESULTS, {"program": "knn", "top1": {"1": 0.5, "20": 0.625}, "validation_images": 8})
    text = card(capfd, *arguments)
    assert "| top-1, k = 20 (knn, 8 images of `npz:pictures.npz`) | 62.5 % |" in text
    config = changed(config, [f"encoder.run={tmp_path / 'another'}"])
    other = write_run(tmp_path / "other", config, data, model)
    arguments = [f"--run={runs / 'pre'}", f"--output={tmp_path / 'card2'}", f"--results={other.path}"]
    assert f"the results in {other.path} are of {tmp_path / 'another'}, and not of" in refused(
        capfd, "card", *arguments
    )


@pytest.mark.medium
def test_a_licence_that_came_with_the_weights_stays(runs, capfd, caplog, tmp_path):
    init = {"source": "hf://someone/vit", "licence": "cc-by-nc-4.0"}
    data, model = f"npz:{runs / 'pictures.npz'}", load_model_file(str(runs / "pre" / "model.keras"))
    began = write_run(tmp_path / "began", CONFIG, data, model, init=init)
    tuned = changed(recipes.load("finetune_small_images"), ["preset=None", f"encoder.run={began / run.ENCODER}"])
    later = write_run(tmp_path / "later", tuned, data, load_model_file(str(runs / "tuned" / "model.keras")))
    for folder in (began, later):
        assert run_facts.licence_of_run(folder.path) == ("cc-by-nc-4.0", "hf://someone/vit")
        line = refused(capfd, "card", f"--run={folder.path}", f"--output={tmp_path / 'card'}", "--licence=mit")
        assert "began with hf://someone/vit, whose licence, cc-by-nc-4.0, stays with them; leave out --licence" in line
    text = card(capfd, f"--run={began.path}", f"--output={tmp_path / 'card'}")
    assert text.startswith("---\nlicense: cc-by-nc-4.0\n") and "which excludes commercial use" in text
    assert licence_of("x", str(tmp_path / "card" / "timm.safetensors")) == "cc-by-nc-4.0"
    init = {"source": "/gone/weights.pth", "licence": None}
    unknown = write_run(tmp_path / "unknown", CONFIG, data, model, init=init)
    text = card(capfd, f"--run={unknown.path}", f"--output={tmp_path / 'card2'}")
    assert "began with the weights weights.pth, whose licence is not stated where they were read." in text
    assert "the card names no licence (license: other)" in caplog.text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("folder:/home/me/xrays/", "folder:xrays"),
        ("npz:a.npz", "npz:a.npz"),
        ("disk:/cache:folder:/data/x", "folder:x"),
        ("disk:/cache:shrink=256:folder:/data/x", "folder:x"),
        ("memory:folder:/data/x", "folder:x"),
        ("tfrecord:gs://bucket/set/*.tfrecord", "tfrecord:*.tfrecord"),
        ("pairs:/data/images,/data/masks", "pairs:images,masks"),
        ("digits", "digits"),
        ("tfds:mnist:train", "tfds:mnist:train"),
        ("tfds:ImageFolder@/data/x", "tfds:ImageFolder"),
    ],
)
def test_a_card_shows_no_folders(data, shown):
    assert run_facts.shown_data(data) == shown
    for source, name in (
        ("hf://a/b", "hf://a/b"),
        ("/runs/pre/", "pre"),
        ("mae_vit_base", "mae_vit_base"),
        (None, None),
    ):
        assert run_facts.shown_path(source) == name


@pytest.mark.medium
def test_a_run_with_less_has_a_card_with_less(runs, capfd, caplog, tmp_path):
    folder = run.RunFolder(str(tmp_path / "run"))
    os.makedirs(folder.path)
    for name in (run.CONFIG, run.MODEL):
        with open(runs / "pre" / name, "rb") as source, open(folder / name, "wb") as copy:
            copy.write(source.read())
    os.mkfifo(folder / run.LOG)  # opening it would wait for ever
    os.makedirs(os.path.join(folder / run.PICTURES, "epoch_0001.png"))
    text = card(capfd, f"--run={folder.path}", f"--output={tmp_path / 'card'}", "--licence=mit")
    assert (
        "## Training" not in text
        and "has no log: the card has no curve" in caplog.text
        and "has no pictures" in caplog.text
    )
    assert sorted(os.listdir(tmp_path / "card")) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "timm.safetensors",
    ]


def test_what_a_card_cannot_be_made_of(runs, capfd, tmp_path):
    def line(*arguments):
        return refused(capfd, "card", *arguments).removeprefix("keras-mae card: ")

    pipe, unfinished, knn = tmp_path / "pipe", tmp_path / "unfinished", tmp_path / "knn"
    os.mkfifo(pipe)
    unfinished.mkdir()
    (unfinished / "config.json").write_bytes((runs / "pre" / "config.json").read_bytes())
    run.RunFolder(str(knn)).start(changed(KNN, [f"encoder.run={runs / 'pre'}"]), "digits", False, False)
    output = f"--output={tmp_path / 'card'}"
    assert line(f"--run={pipe}", output) == f"{pipe} is not the folder of a run: it holds no config.json"
    assert "holds no model.keras: the run has not finished" in line(f"--run={unfinished}", output)
    assert "a card needs the folder of a run" in line(f"--run={runs / 'pre' / 'encoder.keras'}", output)
    assert "is a run of keras-mae knn, which trains nothing: name it with --results" in line(f"--run={knn}", output)
    assert f"--output={pipe} is there, and is no folder" in line(f"--run={runs / 'pre'}", f"--output={pipe}")
    assert "is not empty: name another --output" in line(f"--run={runs / 'pre'}", f"--output={runs}")
    assert "--licence is a name such as apache-2.0" in line(f"--run={runs / 'pre'}", output, "--licence=my own")
    assert sorted(os.listdir(tmp_path)) == ["knn", "pipe", "unfinished"]


@pytest.mark.medium
def test_push(runs, capfd, caplog, tmp_path, hub_server, monkeypatch):  # noqa: F811
    output = tmp_path / "card"
    card(capfd, f"--run={runs / 'pre'}", f"--output={output}", "--licence=mit")
    assert "there is no token of the Hugging Face Hub: log in with hf auth login, or set HF_TOKEN" in refused(
        capfd, "push", "hf://me/it", f"--folder={output}"
    )
    assert hub_server.requests == []
    monkeypatch.setenv("HF_TOKEN", hub_server.token)
    assert cli.main(["push", "hf://me/it", f"--folder={output}", "--private"]) == 0
    assert f"wrote {hub_server.url}/me/it\n" in capfd.readouterr().out
    assert hub_server.created[0]["visibility"] == "private"
    files = hub_server.repositories["me/it"]
    assert sorted(files) == sorted(os.listdir(output))
    assert [path for _, path in hub_server.requests if "/commit/" in path] == ["/api/models/me/it/commit/main"]
    assert files["model.safetensors"] == (output / "model.safetensors").read_bytes()
    text = files["README.md"].decode()
    assert (output / "README.md").read_text().count('"."') == 2 and '"."' not in text
    assert_lines_give_the_tokens(text, runs / "pre" / "encoder.keras")

    files["notes.txt"] = b"theirs"
    assert cli.main(["push", "--to=hf://me/it", f"--run={runs / 'tuned'}", "--licence=mit"]) == 0
    assert "me/it is there already: a new commit replaces its files" in caplog.text
    assert {"notes.txt", "README.md", "epoch_0010.png"} <= set(files) and "timm.safetensors" not in files
    assert "# it\n\nA classifier of 2 classes" in files["README.md"].decode()
    line = refused(capfd, "push", "hf://me/it", f"--folder={output}", "--private")
    assert "me/it is there already, and is public: --private is for a new repository" in line


@pytest.fixture
def folder(tmp_path):
    """A folder with a card and something that is called weights."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "README.md").write_text("---\nlicense: mit\n---\n# It\n")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


@pytest.mark.parametrize(
    ("part", "failure", "message"),
    [
        ("/repos/create", (401, {}), "refused to write to me/it with this token: it has to be yours"),
        ("/repos/create", (403, {}), "refused to write to me/it with this token"),
        ("/commit/", (403, {}), "refused to write to me/it with this token"),
        ("/commit/", (409, {}), "me/it was changed by someone else meanwhile, and nothing was written: push again"),
        ("/commit/", (500, {}), "the upload to me/it did not come to its end"),
        ("/", None, "the upload to me/it did not come to its end"),
        ("/commit/", None, "the upload to me/it did not come to its end"),
    ],
)
def test_an_upload_that_fails_is_told_in_a_line(part, failure, message, folder, capfd, hub_server, monkeypatch):  # noqa: F811
    monkeypatch.setenv("HF_TOKEN", hub_server.token)
    hub_server.failures[part] = failure
    assert cli.main(["push", "hf://me/it", f"--folder={folder}"]) == 2
    line = capfd.readouterr().err.splitlines()[-1]  # after the bar of the upload
    assert line.startswith("keras-mae push: ") and message in line
    assert hub_server.repositories.get("me/it", {}) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs --to; see keras-mae push --help"),
        (["me/it", "--folder=x"], "a repository to write to is hf://OWNER/NAME; got me/it"),
        (["hf://me/it/file", "--folder=x"], "a repository to write to is hf://OWNER/NAME; got hf://me/it/file"),
        (["hf://me/it@v1", "--folder=x"], "a repository to write to is hf://OWNER/NAME; got hf://me/it@v1"),
        (["hf://me/it"], "what to upload is --folder, which keras-mae card has written, or --run: give one of them"),
        (["hf://me/it", "--folder=x", "--run=y"], "give one of them"),
        (
            ["hf://me/it", "--folder=x", "--licence=mit"],
            "--licence is for a card that is written, with --run; x has its",
        ),
        (["hf://me/it", "--folder=nothing"], "there is no folder nothing; keras-mae card --run=RUN --output=nothing"),
        (["hf://me/it", "hf://me/other", "--folder=x"], "takes flags only, such as --output=DIR; got 'hf://me/other'"),
        (["hf://me/it", "--to=hf://me/other", "--folder=x"], "takes flags only"),
    ],
)
def test_what_push_refuses(arguments, message, capfd):
    assert message in refused(capfd, "push", *arguments)


def test_a_folder_without_card_or_weights_is_not_uploaded(folder, capfd, hub_server):  # noqa: F811
    (folder / "model.safetensors").rename(folder / "weights.txt")
    assert "holds no file of weights" in refused(capfd, "push", "hf://me/it", f"--folder={folder}")
    (folder / "README.md").write_text("# It\n")
    assert "is no model card: it does not begin with ---" in refused(capfd, "push", "hf://me/it", f"--folder={folder}")
    (folder / "README.md").unlink()
    line = refused(capfd, "push", "hf://me/it", f"--folder={folder}")
    assert "has no model card (README.md); keras-mae card --run=RUN --output=DIR makes one" in line
    assert hub_server.requests == []

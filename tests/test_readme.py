"""The README's Python runs as it stands, its commands have the flags that it gives them, its links lead somewhere."""

import base64
import json
import os
import pathlib
import re
import shlex
import subprocess

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mae import cli
from tests.drawn import drawn

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(png_and_jpeg, tmp_path_factory):
    """What the commands between the blocks would have made."""
    from keras_mae.export import export_encoder, saved_model
    from keras_mae.models import ViTEncoder
    from keras_mae.retrieval import write_vectors

    folder = tmp_path_factory.mktemp("readme")
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "verify_export", lambda *arguments: {})  # tests/export has this
        export_encoder(ViTEncoder((32, 32, 3), 8, **sizes), str(folder / "models" / "xrays"))
        digits = ViTEncoder((28, 28, 1), 7, hidden_dim=64, num_layers=1, num_heads=2)
        export_encoder(digits, str(folder / "runs" / "demo" / "saved_model"))
    digits.save(folder / "runs" / "demo" / "encoder.keras")
    of_digits = np.arange(6, dtype="float32").reshape(3, 2)
    write_vectors(str(folder / "runs" / "demo" / "vectors.parquet"), list("abc"), np.arange(3), None, of_digits, {})
    Image.fromarray(drawn(48, 64)).save(folder / "picture.jpg")
    return folder


@pytest.mark.medium
def test_python_blocks_run_in_order(folder, monkeypatch):
    """The client asks a stand-in for TF Serving, which has another port."""
    import grpc

    from tests.export.prediction_service import prediction_service

    monkeypatch.chdir(folder)
    keras.utils.set_random_seed(0)
    names: dict = {}
    connect = grpc.insecure_channel
    with prediction_service("xrays", "models/xrays/1") as address:
        monkeypatch.setattr(grpc, "insecure_channel", {"localhost:8500": connect(address)}.__getitem__)
        for block in blocks("python"):
            exec(compile(block, "README.md", "exec"), names)
            if names.pop("response", None):  # the same picture, asked for in two ways
                of_server = names["embedding"]
    assert names["pictures"]["reconstruction"].shape == (8, 28, 28, 1)
    assert names["features"]["patch_tokens"].shape == (8, 49, 64)
    assert of_server.shape == (1, 16) and of_server is not names["embedding"]
    np.testing.assert_allclose(names["embedding"], of_server, rtol=0, atol=1e-5)
    assert names["table"].tolist() == [[0, 1], [2, 3], [4, 5]]
    for accuracy in ("accuracy", "layer_accuracy", "tensorflow_accuracy"):
        assert names[accuracy] > 0.15  # one epoch of a tiny network; guessing gives 0.1


@pytest.mark.medium
def test_the_rest_request_is_what_the_signature_takes(folder):
    """The lines for the shell run, with a `curl` that keeps what it is given."""
    import tensorflow as tf

    (block,) = (block for block in blocks("sh") if "curl" in block)
    curl = 'curl() { cat > body; echo "$@" > arguments; }\n'
    subprocess.run(["sh", "-ec", curl + block], cwd=folder, check=True)
    assert (folder / "arguments").read_text() == "-d @- http://localhost:8501/v1/models/xrays:predict\n"
    assert (folder / "models" / "xrays").is_dir()
    signature = tf.saved_model.load(str(folder / "models" / "xrays" / "1")).signatures["serving_default"]
    # TF Serving takes an instance for the only input's, and {"b64": ...} for a string of bytes
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.rank) == ("image_bytes", tf.string, 1)
    instances = json.loads((folder / "body").read_text())["instances"]
    assert [set(instance) for instance in instances] == [{"b64"}]
    files = [base64.b64decode(instance["b64"], validate=True) for instance in instances]
    assert files == [(folder / "picture.jpg").read_bytes()]
    assert signature(image_bytes=tf.constant(files))["embedding"].shape == (1, 16)


def test_commands_have_the_flags_that_are_given_to_them():
    lines = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line.startswith("keras-mae")]
    assert lines
    for _, name, *arguments in lines:
        command = cli.COMMANDS[name]
        rest = command.make_flags()([name, *arguments])[1:]
        assert len(rest) <= (command.positional is not None), rest


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert all(f"\n{target}:" in makefile for target in targets)


def test_links_lead_somewhere():
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose) if not link.startswith("http")]
    assert links and all(os.path.exists(ROOT / link) for link in links)

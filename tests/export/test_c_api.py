"""The exported encoder in TensorFlow's other runtimes: its C API, which TF Serving wraps, and saved_model_cli."""

import os
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_mae.export import export_encoder
from tests.base import random_images, run_forked, small_encoder
from tests.drawn import write
from tests.export.conftest import FILES

ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums
INVALID_ARGUMENT = 3

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The compiled serve.c."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler")
    path = str(tmp_path_factory.mktemp("c") / "serve")
    root = os.path.dirname(tf.__file__)
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "serve.c")
    libraries = [os.path.join(root, f"libtensorflow_{name}.so.2") for name in ("cc", "framework")]
    flags = ["-Wall", "-Werror", f"-I{root}/include", f"-Wl,-rpath,{root}"]
    subprocess.run(["gcc", *flags, "-o", path, source, *libraries], check=True, capture_output=True, text=True)
    return path


def tensors_of(path, signature):
    """The names of a signature's only input and of `embedding` in the graph."""
    with open(os.path.join(path, "saved_model.pb"), "rb") as file:
        definition = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0].signature_def[signature]
    (given,) = definition.inputs.values()
    return given.name, definition.outputs["embedding"].name


def answers(program, path, signature, requests):
    """What the C program writes: for each request an array of embeddings, or `(code, message)`."""
    words = [word for request in requests for word in ("--", *map(str, request))][1:]
    command = [program, path, *tensors_of(path, signature), *words]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert len(lines) == len(requests)
    return [
        np.array(" ".join(words[1:]).split(), "float32").reshape(-1, 32)
        if words[0] == "ok"
        else (int(words[1]), words[2])
        for words in lines
    ]


def test_c_program_embeds_files_and_names_the_corrupt_one(served, program, tmp_path):
    files = [write(str(tmp_path / str(index)), contents) for index, contents in enumerate(FILES)]
    corrupt = write(str(tmp_path / "corrupt"), FILES[1][:300])
    batch = [files[index % len(files)] for index in range(64)]
    requests = [files[:1], files[:3], [files[0], corrupt, files[1], corrupt], batch, [corrupt]]
    *found, error = answers(program, served.path, "serving_default", requests)
    expected = served.live_of_files(FILES)
    for embedding, rows in zip((found[0], found[1], found[3]), ([0], [0, 1, 2], np.arange(64) % len(FILES))):
        np.testing.assert_allclose(embedding, expected[rows], rtol=0, atol=ROUND_OFF)
    for (code, message), indices in ((found[2], "[1 3]"), (error, "[0]")):
        assert code == INVALID_ARGUMENT and f"indices of the request:] {indices}" in message


def test_c_program_embeds_tensors(served, program, tmp_path):
    batches = [random_images(count, (28, 28, 3), seed=count) for count in (1, 3, 64)]
    requests = [("raw", *batch.shape, write(str(tmp_path / str(len(batch))), batch.tobytes())) for batch in batches]
    for found, images in zip(answers(program, served.path, "embed", requests), batches, strict=True):
        np.testing.assert_allclose(found, served.live(images), rtol=0, atol=ROUND_OFF)


@pytest.mark.slow
def test_c_program_embeds_16_bits(program, tmp_path, unverified):
    """Tensors and files of 12 bits in 16, by a model that was trained on 16."""
    encoder = small_encoder((28, 28, 1), 7, hidden_dim=32)
    path = export_encoder(encoder, str(tmp_path / "model"), crop_ratio=1.0, pixel_dtype="uint16")
    images = random_images(3, (28, 28, 1)).astype("uint16") * 16 + random_images(3, (28, 28, 1), seed=1) % 16
    raw = ("raw", *images.shape, write(str(tmp_path / "raw"), images.tobytes()))
    files = [write(str(tmp_path / f"{n}.png"), tf.io.encode_png(image).numpy()) for n, image in enumerate(images)]
    expected = encoder(images / np.float32(257))["patch_tokens"].numpy().mean(axis=1)
    for signature, given in (("embed", raw), ("serving_default", files)):
        (found,) = answers(program, path, signature, [given])
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)


# Each run is a process of its own, for one import of TensorFlow
RUNS = """
import os, shlex, sys
from tensorflow.python.tools import saved_model_cli
for line in sys.argv[1:]:
    if os.fork() == 0:
        sys.argv = ["saved_model_cli", *shlex.split(line)]
        sys.exit(saved_model_cli.main())
    if os.wait()[1]:
        sys.exit(f"failed: saved_model_cli {line}")
"""


def test_saved_model_cli(served, tmp_path):
    """As `saved_model_cli run` is used, with files of NumPy's."""
    images = random_images(3, (28, 28, 3))
    # fixed-length strings, as NumPy reads no objects; none of these files ends in a zero byte
    files = FILES[:2] + FILES[3:4]
    cases = {
        "embed": ("images", images, served.live(images)),
        "serving_default": ("image_bytes", np.array(files), served.live_of_files(files)),
    }
    lines = []
    for signature, (name, given, _) in cases.items():
        folder = tmp_path / signature
        folder.mkdir()
        np.save(folder / "given.npy", given)
        options = f"run --dir {served.path} --tag_set serve --signature_def {signature}"
        lines.append(f"{options} --inputs {name}={folder}/given.npy --outdir {folder}")
    done = run_forked("-c", RUNS, *lines)
    assert done.returncode == 0, done.stderr
    for signature, (_, _, expected) in cases.items():
        found = np.load(tmp_path / signature / "embedding.npy")
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)


def test_python_embeds_files_and_tensors(served):
    serve, embed = served.loaded.signatures["serving_default"], served.loaded.signatures["embed"]
    of_files = served.live_of_files(FILES)
    for count in (1, 3, 64):
        order = np.arange(count) % len(FILES)
        embedding = serve(image_bytes=tf.gather(FILES, order))["embedding"]
        np.testing.assert_allclose(embedding, of_files[order], rtol=0, atol=ROUND_OFF)
        images = random_images(count, (28, 28, 3), seed=count)
        np.testing.assert_allclose(embed(images=tf.constant(images))["embedding"], served.live(images), atol=ROUND_OFF)

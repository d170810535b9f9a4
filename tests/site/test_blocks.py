"""The code of the README and of the site: Python runs as it stands, commands have the flags that they are given."""

import base64
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tomllib

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mae import cli
from tests.drawn import drawn
from tests.site.pages import NAMES, PAGES, ROOT, blocks, shell_lines, text_of

RUN = [page for page in PAGES if any(block.kind == "python" for block in blocks(page))]
SHELLS = ("sh", "bash")
# What is no command of ours, and is not run: a test cannot tell whether its flags are right
OTHERS = {"apt-get", "done", "curl", "docker", "dpkg", "echo", "for", "kubectl"}


@pytest.fixture(scope="module")
def folder(png_and_jpeg, tmp_path_factory):
    """What the commands between the blocks would have made."""
    from keras_mae.export import export_encoder, saved_model
    from keras_mae.models import ViTEncoder
    from keras_mae.retrieval import write_vectors

    folder = tmp_path_factory.mktemp("site")
    digits = ViTEncoder((28, 28, 1), 7, hidden_dim=64, num_layers=1, num_heads=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "verify_export", lambda *arguments: {})  # tests/export has this
        export_encoder(digits, str(folder / "runs" / "demo" / "saved_model"))
    shutil.copytree(folder / "runs" / "demo" / "saved_model", folder / "models" / "xrays")
    digits.save(folder / "runs" / "demo" / "encoder.keras")
    of_digits = np.arange(6, dtype="float32").reshape(3, 2)
    write_vectors(str(folder / "runs" / "demo" / "vectors.parquet"), list("abc"), np.arange(3), None, of_digits, {})
    Image.fromarray(drawn(48, 64)).save(folder / "picture.jpg")
    return folder


def check_front(names):
    assert names["pictures"]["reconstruction"].shape == (8, 28, 28, 1)
    assert names["features"]["patch_tokens"].shape == (8, 49, 64)


def check_start(names):
    check_front(names)
    assert names["accuracy"] > 0.15  # one epoch of a tiny network; guessing gives 0.1


def check_serving(names):
    assert names["embedding"].shape == (1, 64)
    np.testing.assert_allclose(names["embedding"], names["of_server"], rtol=0, atol=1e-5)  # by gRPC and without
    assert min(names["layer_accuracy"], names["tensorflow_accuracy"]) > 0.15  # as above


def check_extending(names):
    losses = [names[f"{piece}_loss"] for piece in ("border", "mean", "huber", "mixed", "decoder")]
    assert np.isfinite(losses).all() and len(set(losses)) == len(losses)
    visible = names["BorderMasking"](0.75)((8, 8), 64, _seed()).mask.numpy().reshape(-1, 8, 8) == 0
    assert visible[:, 0].mean() > 2 * visible[:, 3].mean()  # the border, and the middle
    error = np.array([0.1, 3.0], "float32")  # Huber's loss by hand: 0.005, and 0.125 + 0.5 * 2.5
    assert float(names["MaskedHuber"](0.5)(np.zeros(2, "float32")[None], error[None])) == pytest.approx(0.69)
    circles = names["circles"].numpy()
    assert circles.shape == (32, 28, 28, 1) and len({circle.tobytes() for circle in circles}) == 32
    assert names["sampler"].mask_ratio == 0.6 and type(names["sampler"]) is names["BorderMasking"]


def _seed():
    from keras_mae.example_seed import ExampleSeed

    return ExampleSeed.for_step(0, 0, 64)


def check_embeddings(names):
    assert names["table"].tolist() == [[0, 1], [2, 3], [4, 5]]


CHECKS = {
    "README.md": check_front,
    "docs/get_started.md": check_start,
    "docs/serving.md": check_serving,
    "docs/embeddings.md": check_embeddings,
    "docs/extending.md": check_extending,
}


@pytest.mark.medium
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run_in_order(page, folder, few_digits, trained_with, monkeypatch):
    """The first pages, and those whose accuracies are looked at, in graphs."""
    few_digits({"README.md": 256, "get_started.md": 2000, "serving.md": 2000}.get(page.name, 1000))
    trained_with(jit_compile=False, run_eagerly=page.name not in ("README.md", "get_started.md", "serving.md"))
    run_page(page, folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run_as_they_stand(page, folder, monkeypatch):
    """With all digits, in graphs, and compiled by XLA, which Keras does by itself."""
    run_page(page, folder, monkeypatch)


def run_page(page, folder, monkeypatch):
    """The client of the serving page asks a stand-in for TF Serving, which has another port."""
    monkeypatch.chdir(folder)
    keras.utils.set_random_seed(0)
    names: dict = {"__name__": "page"}
    name = str(page.relative_to(ROOT))
    if name == "docs/serving.md":
        _with_server(page, names, monkeypatch)
    else:
        _run(page, names)
    if name in CHECKS:
        CHECKS[name](names)


def _run(page, names):
    for block in blocks(page):
        if block.kind == "python" and block.why is None:
            code = "\n" * (block.line - 1) + block.text  # an error names the page's line
            exec(compile(code, str(page), "exec"), names)
            if names.pop("response", None):  # the same picture is asked for without a server then
                names["of_server"] = names["embedding"]


def _with_server(page, names, monkeypatch):
    import grpc

    from tests.export.prediction_service import prediction_service

    connect = grpc.insecure_channel
    with prediction_service("xrays", "models/xrays/1") as address:
        monkeypatch.setattr(grpc, "insecure_channel", {"localhost:8500": connect(address)}.__getitem__)
        _run(page, names)


def test_pages_with_checks_are_there():
    assert set(CHECKS) <= set(NAMES)


@pytest.mark.medium
def test_the_rest_request_is_what_the_signature_takes(folder):
    """The lines for the shell run, with a `curl` that keeps what it is given."""
    import tensorflow as tf

    (block,) = (block for block in blocks(ROOT / "docs" / "serving.md") if "curl" in block.text)
    curl = 'curl() { cat > body; echo "$@" > arguments; }\n'
    subprocess.run(["sh", "-ec", curl + block.text], cwd=folder, check=True)
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
    assert signature(image_bytes=tf.constant(files))["embedding"].shape == (1, 64)


def commands():
    """Every command of every block for a shell that is no script, with page and block; without variables before it."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind in SHELLS and block.why is None and not block.text.startswith("#!"):
                yield from ((page, block, re.sub(r"^([A-Z]+=\S* )+", "", line)) for line in shell_lines(block))


def check_keras_mae(line):
    _, name, *arguments = shlex.split(line)
    command = cli.COMMANDS[name]
    rest = command.make_flags()([name, *arguments])[1:]
    assert len(rest) <= (command.positional is not None), rest


def test_commands_have_the_flags_that_are_given_to_them():
    lines = [line for _, _, line in commands() if line.startswith("keras-mae ")]
    assert len(lines) > 40
    for line in lines:
        check_keras_mae(line)


def test_settings_that_are_named_exist():
    """`--set key=value` of commands and of prose: the key is that of a setting of some program."""
    known = _setting_names()
    for page in PAGES:
        for key in re.findall(r"--set ['\"]?([\w.]+)=", text_of(page)):
            assert key in known or key == "key", f"{page.name}: --set {key}=... is no setting"


def _setting_names():
    from keras_mae.trainers.config import CONFIGS
    from keras_mae.trainers.settings import hints_of, registry_of

    known = set()
    for config in CONFIGS.values():
        for part, hint in hints_of(config).items():
            known.add(part)
            registry = registry_of(hint)
            for kind in [hint] if registry is None else registry.values():
                fields = hints_of(kind) if isinstance(kind, type) else ()
                known |= {*fields, *(f"{part}.{name}" for name in fields)}
    return known


def test_other_commands_are_known():
    for page, block, line in commands():
        word = line.split()[0]
        if word in OTHERS or word == "keras-mae":
            continue
        check = {"make": check_make, "python": check_module, "pip": check_pip}.get(word)
        assert check, f"{page.name}, line {block.line}: {line}"
        check(line)
    for line in re.findall(r"`((?:make|pip|python -m) [^`]+)`", "\n".join(map(text_of, PAGES))):
        {"make": check_make, "python": check_module, "pip": check_pip}[line.split()[0]](line)


def check_make(line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\n{line.split()[1]}:" in makefile, line


def check_module(line):
    """The module is there, and its source has every flag."""
    words = shlex.split(line)
    assert words[1] == "-m"
    if words[2] != "benchmarks" and not words[2].startswith("benchmarks."):
        return
    spec = importlib.util.find_spec(words[2])
    assert spec, line
    origin = spec.origin.replace("__init__.py", "__main__.py")
    with open(origin, encoding="utf-8") as file:
        source = file.read()
    for flag in (word.split("=")[0] for word in words[3:] if word.startswith("--")):
        assert f'"{flag}"' in source, f"{line}: {flag}"


def check_pip(line):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r"(?:keras-mae|\.)\[([\w,-]+)\]", line):
        assert set(extra.split(",")) <= set(extras), line


def test_extras_that_are_named_exist():
    for page in PAGES:
        for line in re.findall(r"keras-mae\[[\w,-]+\]", text_of(page)):
            check_pip(line)


def test_blocks_have_a_language_that_is_checked():
    """Python runs; a block that cannot says why. YAML and scripts are checked by `test_cluster_files`."""
    for page in PAGES:
        for block in blocks(page):
            assert block.kind in ("python", *SHELLS, "json", "yaml", ""), (
                f"{page.name}, line {block.line}: {block.kind}"
            )
            assert block.why is None or len(block.why) > 10
            if block.kind == "json":
                json.loads(block.text)
            if block.kind == "":
                assert not re.search(r"^(keras-mae|import|pip|make) ", block.text, flags=re.M), f"{page.name}: {block}"

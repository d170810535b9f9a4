"""The wheel and the sdist, installed in environments of their own; `keras-mae` runs there as a user types it."""

import functools
import json
import os
import subprocess
import sys
import sysconfig

import pytest

import keras_mae
from tests.base import ROOT, TINY_DEMO
from tests.built import build_sdist, build_wheel, copy_sources, run


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Gives the path of a wheel or an sdist: what `make dist` has made, or a new one of a copy of the sources."""
    names = {"wheel": f"keras_mae-{keras_mae.__version__}-py3-none-any.whl"}
    names["sdist"] = f"keras_mae-{keras_mae.__version__}.tar.gz"
    build = {"wheel": build_wheel, "sdist": build_sdist}

    @functools.cache
    def path_of(kind):
        made = os.path.join(ROOT, "dist", names[kind])
        if os.environ.get("CI") and os.path.exists(made):
            return made
        folder = tmp_path_factory.mktemp("built")
        copy_sources(folder / "checkout")
        (folder / "files").mkdir()
        return str(build[kind](folder / "checkout", folder / "files"))

    return path_of


@pytest.fixture
def environment(tmp_path):
    """The folder of programs of an environment that sees the packages of this one, but not its checkout."""
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")})
    with open(os.path.join(site, "packages.pth"), "w") as file:
        file.write(sysconfig.get_path("purelib"))  # .pth files there, such as that of the checkout, are not read
    return tmp_path / "venv" / "bin"


TRAINS = """
import sys
import keras_mae, keras_mae.export
from keras_mae import cli
print(keras_mae.__file__, keras_mae.export.__file__, sep="\\n")
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["wheel", pytest.param("sdist", marks=pytest.mark.slow)])
def test_it_installs_and_trains(built, environment, tmp_path, kind):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = "install --quiet --no-compile --no-deps --no-index --no-build-isolation".split()
    run(sys.executable, "-m", "pip", "--python", str(environment / "python"), *install, built(kind), cwd=elsewhere)

    program = str(environment / "keras-mae")
    assert "pretrain" in run(program, "--help", cwd=elsewhere)
    if kind == "sdist":  # both are of the same files: tests/test_packaging.py
        return
    assert "mae_digits" in run(program, "recipes", cwd=elsewhere)
    settings = (f"--set={setting}" for setting in (*TINY_DEMO, "epochs=1", "warmup_epochs=0.5", "evaluate_every=0"))
    pretrain = ["pretrain", "--recipe=mae_digits", "--data=digits", "--output=run", *settings]
    python = [str(environment / "python"), "-c", TRAINS, *pretrain]
    *said, wrote = run(*python, cwd=elsewhere, TF_CPP_MIN_LOG_LEVEL="2").splitlines()
    assert wrote == "wrote run" and len(said) == 2
    assert all(path.startswith(str(tmp_path / "venv")) for path in said)
    assert (elsewhere / "run" / "encoder.keras").exists()
    (versions,) = json.loads((elsewhere / "run" / "config.json").read_text())["versions"]
    assert versions["keras_mae"] == keras_mae.__version__


def install(python, *wanted):
    """Installs from PyPI in an environment; the test is skipped where PyPI cannot be reached."""
    command = [python, "-m", "pip", "install", "--quiet", *wanted]
    # With PYTHONPATH pip would take the checkout for installed
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode and "No matching distribution found" in done.stderr:
        pytest.skip(f"PyPI cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_demo_runs_in_an_empty_environment(built, tmp_path, kind):
    """What pyproject.toml names is all that it needs: of an sdist to build it, too."""
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    install(str(tmp_path / "venv" / "bin" / "python"), f"{built(kind)}[demo]")
    run(str(tmp_path / "venv" / "bin" / "keras-mae"), "demo", "--output=demo", cwd=tmp_path, timeout=3000)
    accuracy = json.loads((tmp_path / "demo" / "results.json").read_text())["accuracy"]  # tests/test_demo.py holds them
    assert accuracy["pretrained encoder"]["linear_probe"] > accuracy["random encoder"]["linear_probe"]
    assert (tmp_path / "demo" / "map.html").exists()

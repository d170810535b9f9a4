"""The files of a release, built offline from a copy of the sources."""

import fnmatch
import os
import shutil
import subprocess
import sys

from tests.base import ROOT

FOLDERS = (".ci", ".github", "benchmarks", "docker", "docs", "export", "keras_mae", "tests", "trainers")
FILES = ("*.bazel", "*.cff", "*.cfg", "*.in", "*.md", "*.toml", "*.txt", "*.yaml", "*.yml", ".*ignore", ".pre-commit-*")
FILES = (*FILES, "BUILD", "Dockerfile", "LICENSE", "Makefile")
# What lies about in a checkout, and in no release
LITTER = (
    ".build/lib/keras_mae/old.py",
    ".hypothesis/unicode_data/13.0.0/charmap.json.gz",
    ".pytest_cache/v/cache/nodeids",
    ".venv/bin/python",
    "benchmarks/__pycache__/sizes.cpython-311.pyc",
    "dist/keras_mae-0.0.1.tar.gz",
    "docs/.ipynb_checkpoints/first_run-checkpoint.ipynb",
    "runs/demo/config.json",
    "site/index.html",
    "tests/models/__pycache__/test_vit.cpython-311.pyc",
    "tests/test_old.pyo",
)


def run(*command, cwd, timeout=300, **environment):
    """The command's standard output; its whole output is shown if it fails."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | environment
    done = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_sources(folder):
    """Copies all that packaging might pick up, litter included; returns the paths of all but the litter."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc", ".ipynb_checkpoints")
    folder.mkdir()
    for entry in os.scandir(ROOT):
        if entry.name in FOLDERS and entry.is_dir():
            shutil.copytree(entry.path, folder / entry.name, ignore=ignore)
        elif entry.is_file() and any(fnmatch.fnmatch(entry.name, pattern) for pattern in FILES):
            shutil.copy(entry.path, folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in LITTER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return files


def build_wheel(source, folder):
    """Builds a wheel of a folder or an sdist with the setuptools that is installed, and returns the wheel's path."""
    command = "-m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir".split()
    run(sys.executable, *command, str(folder), str(source), cwd=folder.parent)
    (wheel,) = folder.glob("*.whl")
    return wheel


def build_sdist(source, folder):
    """Builds an sdist of a folder likewise, and returns its path."""
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    run(sys.executable, "-c", program, cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist

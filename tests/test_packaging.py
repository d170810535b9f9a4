"""What a wheel and an sdist hold, and that the wheel works elsewhere; all offline, from a copy of the sources."""

import configparser
import os
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.base import ROOT
from tests.built import build_sdist, build_wheel, copy_sources, run

pytestmark = pytest.mark.medium  # three builds and an installation
SHIPPED = {"keras_mae": "keras_mae", "trainers": "keras_mae/trainers", "export": "keras_mae/export"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return tmp_path_factory.mktemp("sources") / "checkout"


@pytest.fixture(scope="module")
def files(sources):
    """The paths of all that was copied to `sources`, but for the litter."""
    return copy_sources(sources)


@pytest.fixture(scope="module")
def sdist(sources, files, tmp_path_factory):
    return build_sdist(sources, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the sdist, as `make dist` does: what a former build has left in the checkout is not in it."""
    return build_wheel(sdist, tmp_path_factory.mktemp("wheel"))


def text_of(wheel, name):
    """The text of a file in the wheel's dist-info folder."""
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
        return archive.read(member).decode()


def contents(wheel):
    """The paths in a wheel but for its dist-info folder."""
    with zipfile.ZipFile(wheel) as archive:
        return {path for path in archive.namelist() if ".dist-info/" not in path}


def test_the_wheel_puts_one_name_into_site_packages(wheel):
    assert text_of(wheel, "top_level.txt").split() == ["keras_mae"]
    assert {path.split("/")[0] for path in contents(wheel)} == {"keras_mae"}


def test_the_wheel_holds_every_module_and_page_and_nothing_else(sources, wheel):
    expected = set()
    for folder, place in SHIPPED.items():
        files = (path for path in (sources / folder).rglob("*") if path.suffix in (".py", ".html", ".css", ".js"))
        expected |= {f"{place}/{path.relative_to(sources / folder).as_posix()}" for path in files}
    assert contents(wheel) == expected
    assert {"keras_mae/trainers/__init__.py", "keras_mae/trainers/recipes/__init__.py"} <= expected
    assert {"keras_mae/export/__init__.py", "keras_mae/cli.py", "keras_mae/retrieval/map_page.js"} <= expected


def test_the_wheel_has_the_command_and_the_licence(wheel):
    commands = configparser.ConfigParser()
    commands.read_string(text_of(wheel, "entry_points.txt"))
    assert dict(commands["console_scripts"]) == {"keras-mae": "keras_mae.cli:main"}
    assert "Copyright 2026 The keras_mae authors" in text_of(wheel, "licenses/LICENSE")
    assert "License-Expression: Apache-2.0" in text_of(wheel, "METADATA")


def test_a_checkout_makes_the_same_wheel(sources, wheel, tmp_path):
    shutil.rmtree(sources / ".build")
    (tmp_path / "wheel").mkdir()
    assert contents(build_wheel(sources, tmp_path / "wheel")) == contents(wheel)
    assert not (sources / "build").exists()  # one name with the file BUILD on a file system that ignores case
    assert (sources / ".build").is_dir()


def test_an_sdist_holds_the_repository_and_no_litter(sdist, files):
    with tarfile.open(sdist) as archive:
        names = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    made = {name for name in names if name == "PKG-INFO" or name.startswith("keras_mae.egg-info/")}
    assert names - made == files
    assert {"Makefile", "BUILD", "docs/accelerators.md", "tests/base.py", "benchmarks/baseline.json"} <= names


def test_an_sdist_holds_every_file_that_git_tracks(files):
    """A new folder at the top belongs into MANIFEST.in and tests/built.py."""
    if not os.path.exists(os.path.join(ROOT, ".git")):
        pytest.skip("this is no checkout")
    tracked = run("git", "ls-files", cwd=ROOT).splitlines()
    assert {path for path in tracked if os.path.exists(os.path.join(ROOT, path))} <= files


def test_the_installed_wheel_works_elsewhere(wheel, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = "-m pip install --quiet --no-deps --no-index --target".split()
    run(sys.executable, *install, str(installed), str(wheel), cwd=elsewhere)
    here = {"cwd": elsewhere, "PYTHONPATH": str(installed)}

    assert "usage" in run(sys.executable, "-m", "keras_mae", "--help", **here).lower()
    program = (
        "import importlib.util, keras_mae\n"
        "print(keras_mae.__path__)\n"
        "print([importlib.util.find_spec(f'keras_mae.{name}').origin for name in ('trainers', 'export')])\n"
        "print([importlib.util.find_spec(name) for name in ('trainers', 'export')])"
    )
    package = installed / "keras_mae"
    parts = [str(package / name / "__init__.py") for name in ("trainers", "export")]
    assert run(sys.executable, "-c", program, **here).splitlines() == [str([str(package)]), str(parts), "[None, None]"]


def locked_versions():
    """The versions in requirements_lock.txt by normalised name."""
    with open(os.path.join(ROOT, "requirements_lock.txt")) as file:
        pins = re.findall(r"^([\w.-]+)==([^\s;]+)", file.read(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def test_the_lock_agrees_with_pyproject():
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    locked, extras = locked_versions(), project["optional-dependencies"]
    del extras["tpu"]  # which needs an older TensorFlow than the newest
    for text in sum(extras.values(), project["dependencies"]):
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            version = locked.get(canonicalize_name(requirement.name))
            assert version and requirement.specifier.contains(version), (
                f"{text}, but locked: {version}; run `make lock`"
            )


def test_packages_that_write_the_same_files_are_of_one_version():
    """`tensorflow` and `tensorflow-tpu` both fill the folder tensorflow, and pip installs both."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    asked = {one.name: one.specifier for one in map(Requirement, project["optional-dependencies"]["tpu"])}
    assert asked["tensorflow"] == asked["tensorflow-tpu"]
    plain = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    assert plain["tensorflow"].contains("2.20.0") and asked["tensorflow"].contains("2.20.0")


def test_the_lock_has_every_package_that_BUILD_names():
    with open(os.path.join(ROOT, "BUILD")) as file:
        names = set(re.findall(r'"@pypi//(\w+)"', file.read()))
    assert "tensorflow" in names
    assert {canonicalize_name(name) for name in names} <= set(locked_versions())

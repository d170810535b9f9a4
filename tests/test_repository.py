"""The files around the code: workflows, forms, hooks, the citation. They parse, and what they name exists."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import keras_mae
from tests.base import ROOT

WORKFLOWS = (".github/workflows/ci.yml", ".github/workflows/release.yml")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def parsed(path):
    return yaml.safe_load(read(path))


def steps(path):
    return [step for job in parsed(path)["jobs"].values() for step in job["steps"]]


def project():
    return tomllib.loads(read("pyproject.toml"))["project"]


def make_targets():
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))


def test_the_version_stands_in_one_place_and_the_citation_agrees():
    citation = parsed("CITATION.cff")
    assert citation["version"] == keras_mae.__version__ and citation["license"] == project()["license"]
    assert "version" in project()["dynamic"] and "version =" not in read("MODULE.bazel").split("bazel_dep")[0]
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= set(citation)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_workflows_run_what_there_is(path):
    ran = [step["run"] for step in steps(path) if "run" in step]
    made = [target for command in ran for target in re.findall(r"\bmake ([a-z-]+)", command)]
    assert made and set(made) <= make_targets()
    for script in (script for command in ran for script in re.findall(r"(?:^|\s)(\.ci/\S+)", command)):
        assert os.access(os.path.join(ROOT, script), os.X_OK), script
    tests = [name for command in ran for name in re.findall(r"\btests/\w+\.py", command)]
    if os.path.exists(os.path.join(ROOT, "tests", "test_packaging.py")):  # Bazel gives each test its own file alone
        assert all(os.path.exists(os.path.join(ROOT, name)) for name in tests)


@pytest.mark.parametrize("path", WORKFLOWS)
def test_actions_are_pinned_by_commit_with_their_version_beside_it(path):
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)
        assert re.search(rf"{action} # v\d+\.\d+\.\d+$", read(path), re.MULTILINE)
    versions = {re.split(r"@", action)[0]: action for path in WORKFLOWS for action in used}
    assert len(versions) == len(set(used))


def test_ci_tests_every_python_that_is_supported():
    versions = parsed(WORKFLOWS[0])["jobs"]["tests"]["strategy"]["matrix"]["python"]
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read("pyproject.toml"))
    assert versions == classified
    supported = SpecifierSet(project()["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in supported] == versions


def test_only_the_job_that_publishes_gets_a_token():
    for path in WORKFLOWS:
        assert parsed(path)["permissions"] == {"contents": "read"}
    jobs = parsed(WORKFLOWS[1])["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"} and jobs["publish"]["needs"] == "build"
    assert "permissions" not in jobs["build"]
    assert not [step for step in jobs["publish"]["steps"] if "run" in step]  # nothing else runs beside the token


@pytest.mark.parametrize("dated", [True, False])
def test_a_tag_is_that_of_the_version_and_of_a_dated_section(tmp_path, dated):
    for name, text in {
        ".ci/check_tag": read(".ci/check_tag"),
        "keras_mae/__init__.py": '__version__ = "1.2.3"\n',
        "CHANGELOG.md": f"# Changelog\n\n## 1.2.3 - {'2026-12-01' if dated else 'unreleased'}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def said(*tag):
        command = ["bash", str(tmp_path / ".ci" / "check_tag"), *tag]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert said("v1.2.3") == (0, "") if dated else said("v1.2.3")[0] == 1 and "give the section" in said("v1.2.3")[1]
    for tag in (("v1.2.4",), ("1.2.3",), ("v1.2.3rc1",), ()):
        status, error = said(*tag)
        assert status == 1 and "the version in keras_mae/__init__.py is 1.2.3: tag v1.2.3" in error


def test_the_changelog_has_a_section_for_the_version():
    assert re.search(rf"^## \[?{re.escape(keras_mae.__version__)}\]? - ", read("CHANGELOG.md"), re.MULTILINE)


@pytest.mark.parametrize("name", ["bug", "proposal"])
def test_issue_forms_are_what_github_takes(name):
    form = parsed(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert set(form) == {"name", "description", "labels", "body"}
    identifiers = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert identifiers and len(set(identifiers)) == len(identifiers)
    for field in form["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert field["attributes"]["value" if field["type"] == "markdown" else "label"].strip()


def test_dependabot_watches_what_is_pinned():
    updates = parsed(".github/dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "docker"}


def test_hooks_are_of_versions_that_pyproject_allows():
    requirements = {one.name: one for one in map(Requirement, project()["optional-dependencies"]["dev"])}
    hooks = {}
    for repository in parsed(".pre-commit-config.yaml")["repos"]:
        hooks |= {hook["id"]: repository["rev"].removeprefix("v") for hook in repository["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "codespell"}
    locked = dict(re.findall(r"^(ruff|codespell)==([\d.]+)", read("requirements_lock.txt"), re.MULTILINE))
    for hook, version in hooks.items():
        name = hook.split("-")[0]
        assert requirements[name].specifier.contains(version) and locked[name] == version


@pytest.mark.parametrize("name", [".ci/run", ".ci/oldest", ".ci/nightly", ".ci/check_tag", ".ci/bazel/check"])
def test_scripts_parse_and_stay_inside_the_repository(name):
    assert os.access(os.path.join(ROOT, name), os.X_OK)
    subprocess.run(["bash", "-n", os.path.join(ROOT, name)], check=True)
    text = read(name)
    outside = re.findall(
        r"(?<![\w/}])\.\./\.\./\S*|\.\./shared\S*", text.replace('")/../.."', "").replace('")/.."', "")
    )
    assert not outside

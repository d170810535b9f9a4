"""The built site: no warnings, every public name, nothing from another address, no page wider than its window."""

import ast
import html.parser
import importlib.util
import os
import re
import subprocess
import sys

import pytest

import keras_mae
from tests.chromium import Chromium, needs_chromium
from tests.site.pages import DOCS, ROOT

MISSING = [name for name in ("mkdocs", "material", "mkdocstrings") if importlib.util.find_spec(name) is None]
pytestmark = [pytest.mark.medium, pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}: pip install '.[docs]'")]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "built"
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    process = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert not re.search("WARNING|ERROR", process.stdout + process.stderr), process.stderr
    return folder


class Sources(html.parser.HTMLParser):
    """The addresses that a page loads, and the ids in it."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        if tag in LOADED and given.get(LOADED[tag]):
            self.loaded.append(given[LOADED[tag]])
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.loaded.append(given.get("href", ""))
        if "srcset" in given:
            self.loaded.append(given["srcset"])


def pages_of(built):
    return {str(path.relative_to(built)): path for path in sorted(built.rglob("*.html"))}


def is_elsewhere(address):
    return address.startswith(("http:", "https:", "//"))


def test_nothing_comes_from_another_address(built):
    pages = pages_of(built)
    assert len(pages) > 30
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        loaded = Sources(text).loaded
        assert loaded and not [address for address in loaded if is_elsewhere(address)], name
        styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", text, flags=re.S))
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", styles), name
    for path in built.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", path.read_text(encoding="utf-8")), path.name
    assert not list(built.rglob("*.woff*"))


def test_the_reader_of_sources_sees_what_is_loaded():
    text = "<script src='https://a/b.js'></script><link rel=stylesheet href=//c><img src=d.png><a href='https://e'>"
    loaded = Sources(text).loaded
    assert loaded == ["https://a/b.js", "//c", "d.png"]
    assert [is_elsewhere(address) for address in loaded] == [True, True, False]


def public_names():
    """The names in `__all__` of every subpackage, read from its source; of a module without it the public ones."""
    for name in keras_mae._SUBPACKAGES:
        if name == "trainers":  # it has no list of public names: what its page shows is chosen there
            continue
        top = ROOT if name == "export" else ROOT / "keras_mae"
        file = top / f"{name}.py" if (top / f"{name}.py").is_file() else top / name / "__init__.py"
        body = ast.parse(file.read_text(encoding="utf-8")).body
        lists = [ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign) and _is_all(node)]
        defined = [node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
        names = lists[0] if lists else [each for each in defined if not each.startswith("_")]
        assert names, name
        yield from (f"keras_mae.{name}.{each}" for each in names)


def _is_all(node):
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def test_every_public_name_is_in_the_reference(built):
    ids = set()
    for name, path in pages_of(built).items():
        if name.startswith("api/"):
            ids |= Sources(path.read_text(encoding="utf-8")).ids
    names = set(public_names())
    assert len(names) > 80
    missing = sorted(names - ids)
    assert not missing, missing
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    linked = dict(re.findall(r"\[`(keras_mae\.\w+)`\]\(\w+\.md#([\w.]+)\)", index))
    assert set(linked) == {f"keras_mae.{name}" for name in keras_mae._HOME} and set(linked.values()) <= ids
    for name in keras_mae._HOME:
        module, _, key = linked[f"keras_mae.{name}"].rpartition(".")
        assert key == name and f"{keras_mae._HOME[name]}.".startswith(f"{module}.")
    assert all(f"`keras_mae.{name}`" in index for name in keras_mae.__all__)
    assert {"keras_mae.trainers.pretrain.pretrain", "keras_mae.trainers.model_parts.Masking"} <= ids


def test_every_command_and_recipe_is_on_its_page(built):
    from keras_mae import cli
    from keras_mae.trainers import recipes

    text = (built / "commands.html").read_text(encoding="utf-8")
    ids = Sources(text).ids
    assert set(cli.COMMANDS) <= ids
    for command in cli.COMMANDS.values():
        values = command.make_flags()
        assert all(f"--{values[key].name}<" in text for key in values)
    assert all(f"<code>{name}</code>" in text for name in recipes.names())


@needs_chromium
def test_pages_fit_desktops_and_phones(built):
    """No page scrolls to the side, asks for another address, or says an error."""
    with Chromium() as browser:
        for name, path in pages_of(built).items():
            if name == "404.html":  # it is for a server, and names files from its root
                continue
            page = browser.open(path, 1280, 900)
            for width in (1280, 390):
                window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == 390}
                page.call("Emulation.setDeviceMetricsOverride", **window)
                page.until(f"innerWidth == {width}")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width}"
            assert not page.errors, f"{name}: {page.errors}"
            assert all(request.startswith("file:") for request in page.requests), f"{name}: {page.requests}"
            page.call("Page.close")

"""Who may import whom: the imports of every module, read from its source, against the layers of the design."""

import ast
import os

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # tests.base would import TensorFlow

# A module may import its own package and those named here. `trainers` and `export` lie beside `keras_mae` in a
# checkout and inside it in a wheel; their modules are called keras_mae.trainers... and keras_mae.export... either way.
BASE = {"_backend", "_compat", "example_seed", "html_page", "one_writer", "progress", "registry", "whole_file"}
LEAVES = {"layers", "masking", "targets", "losses", "data", "training", "optimizers"}
PARTS = {"encoders", "decoders"}
MODELS = BASE | LEAVES | PARTS
ABOVE_MODELS = MODELS | {"models", "checkpoints"}
ALLOWED = {
    "__init__": set(),
    "_backend": set(),
    "_compat": set(),
    "registry": set(),
    "example_seed": {"_backend"},
    "html_page": set(),
    "one_writer": set(),
    "progress": set(),
    "whole_file": set(),
    "layers": BASE,
    "masking": BASE | {"layers"},
    "targets": BASE | {"layers"},
    "losses": BASE | {"layers"},
    "data": BASE | {"layers"},
    "training": BASE | {"layers"},
    "optimizers": BASE,
    "encoders": BASE | {"layers", "training"},
    "decoders": BASE | {"layers", "masking", "encoders"},
    "models": MODELS,  # optimizers among them: files of compiled models name them, and `keras_mae.models` registers all
    "checkpoints": MODELS | {"models"},
    "trainers": ABOVE_MODELS,
    "export": ABOVE_MODELS,
    "retrieval": ABOVE_MODELS,
    "run_report": BASE | {"trainers"},
    "demo": ABOVE_MODELS | {"trainers", "export", "retrieval"},
    "commands": ABOVE_MODELS | {"trainers", "export", "retrieval", "run_report", "demo"},
    "cli": {"registry", "trainers", "commands"},
    "__main__": {"cli"},
}
# In a checkout `keras_mae` finds packages in the repository's root, so that these could be imported by mistake
NOT_OURS = {"tests", "keras_mae", "benchmarks"}


def sources():
    """`(name of the module, path)` of every module that a wheel holds."""
    for folder, name in (
        ("keras_mae", "keras_mae"),
        ("trainers", "keras_mae.trainers"),
        ("export", "keras_mae.export"),
    ):
        for directory, _, files in os.walk(os.path.join(ROOT, folder)):
            parts = os.path.relpath(directory, os.path.join(ROOT, folder)).replace(os.curdir, "").split(os.sep)
            for file in sorted(files):
                if file.endswith(".py"):
                    stem = [] if file == "__init__.py" else [file[: -len(".py")]]
                    yield ".".join([name, *filter(None, parts), *stem]), os.path.join(directory, file)


def imported(tree):
    """`(line, full dotted name)` of every import in a module, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def part(name):
    """The part of the package that a module belongs to, or None if it is not ours: `keras_mae.data.x` to `data`."""
    first, _, rest = name.partition(".")
    if first != "keras_mae":
        return None
    return "__init__" if rest in ("", "__version__") else rest.partition(".")[0]


def complaints(name, source):
    """What is wrong with the imports of the module `name`."""
    own = part(name)
    for line, target in imported(ast.parse(source)):
        if target.startswith("."):
            yield f"{name}:{line} imports {target}: imports are absolute"
        elif target.partition(".")[0] in {"tests", "benchmarks", "trainers", "export"}:
            yield f"{name}:{line} imports {target}, which no wheel holds under this name"
        elif part(target) in NOT_OURS:
            yield f"{name}:{line} imports {target}, which exists in a checkout only"
        elif part(target) not in {None, "__init__", own} | ALLOWED[own]:
            yield f"{name}:{line} imports {target}: {own} may import {sorted(ALLOWED[own])}"


def test_every_import_points_downwards():
    modules = dict(sources())
    assert {"keras_mae.layers.patches", "keras_mae.trainers", "keras_mae.export"} <= set(modules)
    unknown = {part(name) for name in modules} - set(ALLOWED)
    assert not unknown, f"say in ALLOWED what {sorted(unknown)} may import"
    found = []
    for name, path in modules.items():
        with open(path, encoding="utf-8") as file:
            found += complaints(name, file.read())
    assert not found, "\n".join(found)


def test_what_may_be_imported_has_no_cycle():
    seen = set()
    for name, below in ALLOWED.items():
        assert below <= seen, f"{name} may import {sorted(below - seen)}, which come later"
        seen.add(name)


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("keras_mae.layers.patches", "from keras_mae.models import ViTEncoder", "layers may import"),
        ("keras_mae.masking.random_masking", "import keras_mae.targets", "masking may import"),
        ("keras_mae.optimizers.lars", "from keras_mae.models import SimMIM", "optimizers may import"),
        ("keras_mae.trainers.run", "def f():\n    from keras_mae import export", "trainers may import"),
        ("keras_mae.export", "from keras_mae.trainers.run import load", "export may import"),
        ("keras_mae.retrieval.search", "from keras_mae.export import verify", "retrieval may import"),
        ("keras_mae.models.simmim", "from .vit_encoder import ViTEncoder", "imports are absolute"),
        ("keras_mae.demo", "from keras_mae.cli import main", "demo may import"),
        ("keras_mae.commands.images", "from keras_mae import cli", "commands may import"),
        ("keras_mae.cli", "def main():\n    from keras_mae.models import presets", "cli may import"),
        ("keras_mae.cli", "from trainers import run", "which no wheel holds"),
        ("keras_mae.cli", "import keras_mae.tests.base", "in a checkout only"),
    ],
)
def test_a_wrong_import_is_seen(name, source, complaint):
    (found,) = complaints(name, source)
    assert complaint in found


def test_no_package_exports_a_name_that_a_module_of_it_has():
    """`from keras_mae.optimizers import adamw` would be the one or the other, by what was imported before."""
    modules = dict(sources())
    for package in (name for name, path in modules.items() if path.endswith("__init__.py")):
        with open(modules[package], encoding="utf-8") as file:
            targets = {target for _, target in imported(ast.parse(file.read()))}
        shadowed = {target for target in targets if f"{package}.{target.rpartition('.')[2]}" in set(modules) - {target}}
        assert not shadowed, f"{package} imports {sorted(shadowed)}: modules of it have the same name"

"""Private names of other libraries: keras_mae/_compat.py alone may use them, each with a test in test_compat.py."""

import ast
import importlib
import inspect
import os
import re
import textwrap

import pytest

from tests.test_dependencies import ROOT, part, sources

NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
ACCESS = {"getattr", "setattr", "hasattr", "delattr", "get", "pop"}  # calls that name an attribute or a key
ONLY_HERE = "keras_mae._compat"


def is_private(name):
    return re.fullmatch(r"_[a-z]\w*", str(name)) is not None and name not in NAMED_TUPLES


def is_inside(module):
    """Whether a dotted name leads inside of another library."""
    parts = module.split(".")
    ours = parts[0] in ("keras_mae", "benchmarks", "__future__")
    return not ours and (parts[1:2] in (["src"], ["python"]) or any(map(is_private, parts)))


def defined(tree):
    """The names that a module defines: functions, classes, variables, and attributes that it sets on `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and named(node.value) == "self":
            yield node.attr


def named(node):
    return node.id if isinstance(node, ast.Name) else None


def private_names(tree, ours):
    """`(line, name)` of each private name that is none of `ours`, and of each import from inside of a library."""
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Attribute):
            inside = node.attr in ("src", "python") and named(node.value) in ("tf", "tensorflow", "keras", "keras_cv")
            found = [node.attr] if inside or node.attr == "__internal__" or is_private(node.attr) else []
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if is_inside(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            found = [each for alias in node.names if is_inside(each := f"{node.module}.{alias.name}")]
        elif isinstance(node, ast.Call):
            said = getattr(node.func, "attr", getattr(node.func, "id", None)) in ACCESS
            texts = [each.value for each in node.args if said and isinstance(each, ast.Constant)]
            found = [name for name in (*texts, *(each.arg for each in node.keywords)) if is_private(name)]
        elif isinstance(node, ast.Dict):
            found = [key.value for key in node.keys if isinstance(key, ast.Constant) and is_private(key.value)]
        yield from ((node.lineno, name) for name in found if name not in ours)


def all_sources():
    yield from sources()
    folder = os.path.join(ROOT, "benchmarks")
    yield from ((f"benchmarks.{name[:-3]}", os.path.join(folder, name)) for name in os.listdir(folder) if ".py" in name)


def test_private_names_of_others_are_in_compat_alone():
    trees = {}
    for name, path in all_sources():
        with open(path, encoding="utf-8") as file:
            trees[name] = ast.parse(file.read())
    ours = {}  # of each part of the package: another part's private names are not one's own
    for name, tree in trees.items():
        ours.setdefault(part(name), set()).update(defined(tree))
    found = [
        f"{module}:{line} uses {name}: look for a public way; if there is none, keras_mae/_compat.py is the place"
        for module, tree in trees.items()
        for line, name in private_names(tree, ours[part(module)])
        if module != ONLY_HERE
    ]
    assert not found, "\n".join(found)
    assert len(list(private_names(trees[ONLY_HERE], set()))) >= 5


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("model._loss_tracker.count", "_loss_tracker"),
        ("def f(self):\n    self._flatten_layers()", "_flatten_layers"),
        ("weight._path = 'x'", "_path"),
        ("getattr(content, '_metadata', {})", "_metadata"),
        ("kwargs.get('_use_cached_eval_dataset')", "_use_cached_eval_dataset"),
        ("tf.function(f, experimental_attributes={'_noinline': True})", "_noinline"),
        ("evaluate(x, _use_cached_eval_dataset=True)", "_use_cached_eval_dataset"),
        ("tf.__internal__.tracking", "__internal__"),
        ("keras.src.ops", "src"),
        ("from tensorflow.python.framework import ops", "tensorflow.python.framework.ops"),
        ("import keras.src.ops", "keras.src.ops"),
        ("from keras_cv.src import utils", "keras_cv.src.utils"),
        ("from tensorflow_datasets.core import _x", "tensorflow_datasets.core._x"),
    ],
)
def test_a_private_name_is_seen(source, expected):
    assert [name for _, name in private_names(ast.parse(source), set())] == [expected]


def test_what_is_public_or_ours_is_not():
    tree = ast.parse("from keras_mae import _backend\nbatch._replace(x=1)\nself._own = [self._own, x.__dict__]\nf(_)")
    assert not list(private_names(tree, set(defined(tree))))


def private_in(kind):
    """The private methods of a class, and the private attributes of its `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    methods = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    attributes = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and named(node.value) == "self"
    }
    return set(filter(is_private, methods | attributes))


@pytest.mark.medium
def test_no_class_of_ours_shares_a_private_name_with_its_base_in_another_library():
    """Such a name is an override, or a clash: nothing else tells that from a name of our own."""
    found, seen = [], {}
    for module, _ in sources():
        if module.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module)).values():
            if not inspect.isclass(kind) or kind.__module__ != module or kind in seen:
                continue
            seen[kind] = private_in(kind)
            for base in kind.__mro__:
                if base.__module__.startswith(("keras.", "keras_cv.", "tensorflow.")):
                    seen[base] = seen[base] if base in seen else private_in(base)
                    found += [
                        f"{kind.__qualname__}.{name} is {base.__qualname__}'s" for name in seen[kind] & seen[base]
                    ]
    assert len(seen) > 100
    assert not found, "give it another name, or see keras_mae/_compat.py: " + "; ".join(sorted(found))

"""Groups of variables, by depth or by patterns of their paths, and learning-rate scales for them."""

from __future__ import annotations

import collections
import fnmatch
from collections.abc import Iterable, Sequence

import keras

from keras_mae.registry import listed


def depth_groups(model) -> list[list[keras.Variable]]:
    """`model.layer_groups()`, from the input to the output; the group of a frozen layer is empty.

    Raises:
        ValueError: if a trainable variable is in no group or in two, or a group holds one that is not trained.
    """
    groups = model.layer_groups()
    in_groups = [variable for group in groups for variable in group]
    _check_partition(model.trainable_variables, in_groups, f"{type(model).__name__}.layer_groups()")
    return groups


def names_of(variables: Sequence[keras.Variable]) -> dict[int, str]:
    """A unique name for each variable, by its `id`: its path, followed by `#2` if it is the second such path.

    Layers of the same name, which an encoder and a decoder may have, have variables of the same paths.
    """
    times: collections.Counter[str] = collections.Counter()
    names = {}
    for variable in variables:
        times[variable.path] += 1
        count = times[variable.path]
        names[id(variable)] = variable.path if count == 1 else f"{variable.path}#{count}"
    return names


def select(variables: Sequence[keras.Variable], patterns: Iterable[str]) -> list[list[keras.Variable]]:
    """For each pattern, the variables whose `path` it matches.

    Args:
        variables: the variables to select from.
        patterns: patterns of paths as in `fnmatch`, such as `"*/bias"` or `"vit_encoder/block_0/*"`; or a name of one
            variable as in `names_of`.

    Raises:
        ValueError: if a pattern matches nothing.
    """
    patterns, names = list(patterns), names_of(variables)
    known = set(names.values())
    selected = [
        [v for v in variables if names[id(v)] == pattern]
        if pattern in known
        else [v for v in variables if fnmatch.fnmatchcase(v.path, pattern)]
        for pattern in patterns
    ]
    idle = [pattern for pattern, chosen in zip(patterns, selected, strict=True) if not chosen]
    if idle:
        raise ValueError(
            f"no trainable variable matches {listed(map(repr, idle))}; a pattern is compared with the whole path, and "
            f"the paths are {listed(v.path for v in variables)}"
        )
    return selected


def split(variables: Sequence[keras.Variable], patterns: Iterable[str]) -> list[list[keras.Variable]]:
    """As `select`; a ValueError too if a variable matches no pattern or two."""
    patterns = list(patterns)
    selected = select(variables, patterns)
    _check_partition(variables, [v for chosen in selected for v in chosen], listed(map(repr, patterns)))
    return selected


def _check_partition(variables: Sequence[keras.Variable], found: Sequence[keras.Variable], by: str) -> None:
    expected = {id(variable): variable.path for variable in variables}
    times = collections.Counter(map(id, found))
    problems = {
        "in no group": [path for key, path in expected.items() if key not in times],
        "in more than one": [path for key, path in expected.items() if times[key] > 1],
        "not trained": [variable.path for variable in found if id(variable) not in expected],
    }
    if any(problems.values()):
        said = "; ".join(f"{what}: {listed(paths)}" for what, paths in problems.items() if paths)
        raise ValueError(f"the groups by {by} must hold every trainable variable exactly once; {said}")


def layer_decay_scales(model, decay: float) -> dict[str, float]:
    """The factor of each variable's learning rate, smaller for layers nearer to the input.

    The stem (patch projection, tokens, positions) is layer 0, block `i` is layer `i + 1`, and the last norm with the
    head is layer `N + 1`; the scale of layer `l` is `decay ** (N + 1 - l)`, 1 for the head.

    Args:
        model: an `ImageClassifier`, or another model whose `layer_groups()` go from the input to the output.
        decay: in (0, 1]; the paper's fine-tuning has 0.65 for ViT-B, and 0.75 for ViT-L and ViT-H.

    Returns:
        The scale of each trainable variable by its name, see `names_of`, for `AdamW(learning_rate_scales=...)`.

    Raises:
        ValueError: for a decay outside of (0, 1], or if `layer_groups()` do not partition the trainable variables.

    Reference: arXiv 2003.10555 (ELECTRA), section 3.1; arXiv 2106.08254 (BEiT), table 9; arXiv 2111.06377, table 9.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layer-wise decay is a factor in (0, 1], got {decay!r}; 1 gives all layers the same rate")
    groups, names = depth_groups(model), names_of(model.trainable_variables)
    return {
        names[id(variable)]: decay ** (len(groups) - 1 - layer)
        for layer, group in enumerate(groups)
        for variable in group
    }

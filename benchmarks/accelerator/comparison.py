"""JAX's results of an exported step against TensorFlow's."""

from __future__ import annotations

import json
import sys

import numpy as np

from benchmarks.accelerator.our_side import RunningStep


def compare(folder: str, name: str) -> dict[str, float | str]:
    """Takes as many steps as TensorFlow took, and says how far the results are apart.

    Each difference is relative, `|ours - theirs| / |theirs|`, of the Euclidean norm over all losses, over all weights,
    and over all moments of the optimizer together.

    Raises:
        ValueError: if a counter differs, or there are no results to compare with.
    """
    step = RunningStep(folder, name)
    if not step.results:
        raise ValueError(f"{name} was exported without results: give it num_results")
    theirs = dict(step.results)
    losses = theirs.pop("losses")
    record: dict[str, float | str] = {
        "losses": _difference([step.take(len(losses))], [losses]),
        "last_loss": float(losses[-1]),
        "compile_seconds": round(step.compile_seconds, 1),
    }
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"weights": [], "moments": []}
    worst = (0.0, "")
    for number, ours in step.variables().items():
        one, expected = step.exported.inputs[number], theirs[str(number)]
        if np.issubdtype(ours.dtype, np.integer):
            if ours != expected:
                raise ValueError(f"{one.name} is {ours} after {len(losses)} steps, and {expected} by TensorFlow")
        elif one.name.startswith("step_record"):  # NaN where there is no median
            np.testing.assert_allclose(ours, expected, rtol=1e-2, err_msg=one.name)
        elif one.shape:
            group = "moments" if one.kind == "zeros" else "weights"
            groups[group].append((ours, expected))
            if group == "weights":
                worst = max(worst, (_difference([ours], [expected]), one.name))
    for group, pairs in groups.items():
        record[group] = _difference(*zip(*pairs, strict=True))
    record["worst_weight"], record["worst_weight_is"] = worst
    return record


def _difference(ours, theirs) -> float:
    ours, theirs = (np.concatenate([np.ravel(each).astype("float64") for each in side]) for side in (ours, theirs))
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


if __name__ == "__main__":
    for step in sys.argv[2:]:
        print(json.dumps(compare(sys.argv[1], step)), flush=True)

"""The 10 nearest of 1,000 queries among a million random vectors: seconds, and memory, of this package and of others.

    python -m benchmarks.vector_search --vectors=1000000 --dim=768 --queries=1000

Each side runs in processes of its own, by turns, on the same file of vectors, which lies in the page cache; the seconds
are those of the search without reading and without imports, the memory is the process's peak. All sides must find the
same neighbours. scikit-learn is `NearestNeighbors(algorithm="brute", metric="cosine")`; faiss, if it is installed, is
its exact `IndexFlatIP`, on vectors that were divided by their lengths, which is part of its time as of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec

import numpy as np

K = 10


def ours(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """`keras_mae.retrieval.nearest`."""
    from keras_mae.retrieval import nearest

    return nearest(vectors, queries, K)[1]


def sklearn(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """scikit-learn's exact search."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="cosine").fit(vectors)
    return search.kneighbors(queries, return_distance=False)


def faiss(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The exact search of faiss."""
    import faiss as library

    index = library.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 65536):
        block = vectors[start : start + 65536]
        index.add(block / np.linalg.norm(block, axis=1, keepdims=True))
    return index.search(queries / np.linalg.norm(queries, axis=1, keepdims=True), K)[1]


SIDES = {"ours": ours, "sklearn": sklearn, "faiss": faiss}


def measure(side: str, folder: str) -> dict[str, object]:
    """Seconds, the peak of memory in MB, and the neighbours' indices, of one side in this process."""
    vectors, queries = (np.load(os.path.join(folder, name)) for name in ("vectors.npy", "queries.npy"))
    SIDES[side](vectors[:1000], queries[:10])  # imports
    begin = time.perf_counter()
    found = SIDES[side](vectors, queries)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"seconds": round(seconds, 2), "megabytes": peak, "indices": found.tolist()}


def compare(count: int, dim: int, queries: int, rounds: int) -> dict[str, object]:
    """All sides by turns; raises a `RuntimeError` if their neighbours differ."""
    sides = [side for side in SIDES if side == "ours" or find_spec(side) is not None]
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        for name, number in (("vectors", count), ("queries", queries)):
            np.save(os.path.join(folder, f"{name}.npy"), rng.standard_normal((number, dim), dtype="float32"))
        for _ in range(rounds):
            for side in sides:
                words = [sys.executable, "-m", "benchmarks.vector_search", f"--side={side}", f"--folder={folder}"]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                runs[side].append(json.loads(done.stdout.splitlines()[-1]))
    ours_found = np.array(runs["ours"][0]["indices"])
    record: dict[str, object] = {"vectors": count, "dim": dim, "queries": queries, "k": K}
    for side in sides:
        # two vectors whose similarities differ by less than float32's rounding may change places
        same = float(np.mean(np.sort(runs[side][0]["indices"], axis=1) == np.sort(ours_found, axis=1)))
        if same < 0.999:
            raise RuntimeError(f"{side} finds other neighbours: {same:.2%} of them are the same")
        record[f"{side}_seconds"] = round(statistics.median(run["seconds"] for run in runs[side]), 1)
        record[f"{side}_megabytes"] = max(run["megabytes"] for run in runs[side])
    return record


def main() -> None:
    """Prints the comparison as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.folder)))
    else:
        print(json.dumps(compare(arguments.vectors, arguments.dim, arguments.queries, arguments.rounds)))


if __name__ == "__main__":
    main()

"""`keras-mae neighbours`, `duplicates` and `outliers`: what is alike, twice, or odd among embedded images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags

from keras_mae.commands.command import Command
from keras_mae.registry import did_you_mean, listed

if TYPE_CHECKING:
    import numpy as np

    from keras_mae.retrieval import Vectors


_COMPARED = 10_000  # names that a mistyped one is compared with: of more it takes minutes


def _make_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "vectors", None, "what keras-mae embed has written: a .parquet or .npz file, or a folder of shards",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "output", None,
        "the folder to write: a table NAME.csv, and NAME.html with thumbnails, NAME being this command's; without it "
        "the table is printed",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool("overwrite", False, "replace these two files if they are there", flag_values=values)
    return values


def _neighbours_flags() -> flags.FlagValues:
    values = _make_flags()
    flags.DEFINE_multi_string(
        "query", None,
        "the name of an image among the vectors, or else an image file, which is embedded with the same weights; may "
        "be given again",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer("k", 10, "how many neighbours of each query", lower_bound=1, flag_values=values)
    return values


def _duplicates_flags() -> flags.FlagValues:
    values = _make_flags()
    flags.DEFINE_float(
        "threshold", None,
        "the cosine similarity of the whitened vectors, up to 1, from which on two images are duplicates; 0.97 if not "
        "given",
        lower_bound=0, upper_bound=1, flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool(
        "mirrored", False,
        "find mirrored copies too: embeds all images once more, mirrored, with the same weights",
        flag_values=values,
    )  # fmt: skip
    return values


def _outliers_flags() -> flags.FlagValues:
    values = _make_flags()
    flags.DEFINE_integer(
        "k", 10, "an image is as far out as its distance to its k-th neighbour", lower_bound=1, flag_values=values
    )
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses vectors that are not there, and an output that is."""
    if not os.path.exists(values.vectors):
        raise ValueError(f"--vectors={values.vectors}: there is no such file or folder; keras-mae embed writes it")
    if values.output is None:
        return
    stem, ending = os.path.splitext(values.output)
    if ending in (".csv", ".html"):
        raise ValueError(f"--output={values.output} is a file's name; name a folder for both files: --output={stem}")
    if os.path.exists(values.output) and not os.path.isdir(values.output):
        raise ValueError(f"--output={values.output} is a file; name a folder")
    if os.path.isdir(values.output) and os.path.samefile(values.output, "."):
        raise ValueError(f"--output={values.output} is the current folder; name one for both files")
    if os.path.isdir(values.output) and os.listdir(values.output) and not values.overwrite:
        raise ValueError(
            f"{values.output} is there already: choose another output, or allow the replacement of this command's "
            "files in it with --overwrite"
        )


def _opened(path: str) -> Vectors:
    from keras_mae.retrieval import open_vectors

    vectors = open_vectors(path)
    if not len(vectors):
        raise ValueError(f"{path} has no vector in it: there is nothing to search")
    return vectors


def _neighbours(values: flags.FlagValues) -> None:
    from keras_mae.commands.found import Found
    from keras_mae.retrieval import nearest
    from keras_mae.retrieval.approximate import kind_of_search

    vectors = _opened(values.vectors)
    names, places = _queries(vectors, values.query)
    queries = _vectors_of(vectors, names, places)
    scores, indices = nearest(vectors, queries, values.k, places)
    found = Found("neighbours", vectors, ["query", "rank", "similarity"])
    for name, place, row, alike in zip(names, places, indices, scores, strict=True):
        found.section(f"nearest to {name}")
        found.query(name, int(place))
        for rank, (index, score) in enumerate(zip(row, alike), 1):
            found.add(int(index), [name, str(rank), f"{score:.6f}"], f"{score:.4f}")
    kind = kind_of_search(len(vectors), len(queries))
    found.write(values.output, [f"Cosine similarity of the vectors; {len(vectors)} images were searched; {kind}."])


def _queries(vectors: Vectors, queries: list[str]) -> tuple[list[str], np.ndarray]:
    """The names of all queries, and their index among the vectors, -1 for the file of another image."""
    import numpy as np

    names, places = [], []
    known = np.array(vectors.names, dtype=object)
    for query in queries:
        at = np.flatnonzero(known == query).tolist()  # equal names are possible: all of them are queries
        if not at and not os.path.isfile(query):
            near = did_you_mean(query, vectors.names[:_COMPARED])
            raise ValueError(
                f"--query={query} is neither a name among the vectors nor an image file{near} {listed(vectors.names)}"
            )
        names += [query] * max(len(at), 1)
        places += at or [-1]
    return names, np.array(places)


def _vectors_of(vectors: Vectors, names: list[str], places: np.ndarray) -> np.ndarray:
    """The vectors of queries, `(M, D)`: those of the file, or new ones of image files."""
    import numpy as np

    from keras_mae.retrieval.blocks import rows_at

    queries = np.empty((len(names), vectors.dim), "float32")
    inside = places >= 0
    queries[inside] = rows_at(vectors, places[inside])
    files = [name for name, place in zip(names, places) if place < 0]
    if files:
        from keras_mae.commands.embedding import embed_image_files

        queries[~inside] = embed_image_files(vectors.header, files)
    return queries


def _duplicates(values: flags.FlagValues) -> None:
    from keras_mae.commands.found import Found
    from keras_mae.retrieval.cosine import similarities
    from keras_mae.retrieval.duplicates import THRESHOLD, duplicate_groups, whitened

    vectors = _opened(values.vectors)
    threshold = THRESHOLD if values.threshold is None else values.threshold
    array = vectors.array()
    if values.mirrored:
        from keras_mae.commands.mirrored import mirrored_vectors

        array = (array + mirrored_vectors(vectors)) / 2
    units = whitened(array)
    groups = duplicate_groups(units, threshold)
    found = Found("duplicates", vectors, ["group", "similarity"])
    for number, group in enumerate(groups, 1):
        alike = similarities(units, units, group * 0 + group[0], group)
        found.section(f"group {number}: {len(group)} images")
        for index, score in zip(group, alike):
            found.add(int(index), [str(number), f"{score:.6f}"], "the first" if index == group[0] else f"{score:.4f}")
    twice = sum(len(group) - 1 for group in groups)
    found.write(
        values.output,
        [
            f"Groups of duplicates: {len(groups)}, among {len(vectors)} images. Copies besides the first of each: "
            f"{twice}.",
            f"Two images are duplicates from a cosine similarity of {threshold} on, of the whitened vectors; a group "
            "is all that such pairs connect. The similarity given is that to the group's first image.",
            "Mirrored copies are duplicates." if values.mirrored else "Mirrored copies are found with --mirrored only.",
        ],
    )


def _outliers(values: flags.FlagValues) -> None:
    import numpy as np

    from keras_mae.commands.found import Found
    from keras_mae.retrieval.approximate import kind_of_search
    from keras_mae.retrieval.outliers import outlier_scores

    vectors = _opened(values.vectors)
    scores = outlier_scores(vectors.array(), values.k)
    k = min(values.k, len(vectors) - 1)
    found = Found("outliers", vectors, ["rank", "distance"])
    found.section("the farthest first")
    for rank, index in enumerate(np.argsort(-scores, kind="stable"), 1):
        found.add(int(index), [str(rank), f"{scores[index]:.6f}"], f"{scores[index]:.4f}")
    kind = kind_of_search(len(vectors), len(vectors))
    found.write(
        values.output, [f"The distance is 1 - cosine similarity to neighbour {k} of {len(vectors)} images; {kind}."]
    )


NEIGHBOURS = Command(
    "find the images that are most like one", _neighbours_flags, _neighbours, ("vectors", "query"), _check
)
DUPLICATES = Command(
    "find groups of images that are nearly the same", _duplicates_flags, _duplicates, ("vectors",), _check
)
OUTLIERS = Command("rank images by how far from all others they are", _outliers_flags, _outliers, ("vectors",), _check)

"""`keras-mae map`."""

from __future__ import annotations

import os

from absl import flags

from keras_mae.commands.command import Command

_NEIGHBOURS, _CLUSTERS, _MEGABYTES = 12, 10, 16.0  # those of `write_map`, which imports TensorFlow


def _map_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("vectors", None, "the vectors to draw, as keras-mae embed wrote them", flag_values=values)
    flags.DEFINE_string("output", None, "the HTML file to write", flag_values=values)
    flags.DEFINE_enum(
        "method", "pca", ["pca", "umap"],
        "how vectors become points: principal components, or UMAP, which pip install 'keras-mae[umap]' brings",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer("k", _NEIGHBOURS, "how many nearest images a click shows", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "clusters", _CLUSTERS, "how many clusters there are to colour by", lower_bound=1, upper_bound=1000,
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_float(
        "thumbnail_megabytes", _MEGABYTES,
        "how much of the file thumbnails take; if all would take more, a random sample of the images has them",
        lower_bound=0, flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool("overwrite", False, "replace a file that is there", flag_values=values)
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses what cannot be read or written, before TensorFlow is imported."""
    output = values.output
    if not output.endswith((".html", ".htm")):
        raise ValueError(f"--output={output} is no page; type --output={output.rstrip('/')}.html")
    if os.path.isdir(output):
        raise ValueError(f"--output={output} is a folder; name the HTML file to write, such as map.html")
    if os.path.exists(output) and not values.overwrite:
        raise ValueError(f"{output} is there already: name another output, or replace it with --overwrite")
    if not os.path.exists(values.vectors):
        raise ValueError(f"--vectors={values.vectors}: there is no such file or folder; keras-mae embed writes one")
    if values.method == "umap":
        from keras_mae.retrieval.projection import check_method

        check_method(values.method)


def _map(values: flags.FlagValues) -> None:
    from keras_mae.retrieval import open_vectors
    from keras_mae.retrieval.map import write_map

    facts = write_map(
        open_vectors(values.vectors),
        values.output,
        values.method,
        values.k,
        values.clusters,
        values.thumbnail_megabytes,
    )
    for note in facts.notes:
        print(note)
    print(
        f"wrote {values.output}: {facts.num_images:,} images, {facts.num_thumbnails:,} of them with a thumbnail, "
        f"{facts.num_bytes / 1e6:.1f} MB; a browser opens it"
    )


MAP = Command(
    "draw a map of vectors: a page with the images, their neighbours and a search", _map_flags, _map,
    ("vectors", "output"), _check,
)  # fmt: skip

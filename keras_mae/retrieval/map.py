"""A map of vectors: one HTML file that opens without network."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os

import numpy as np

from keras_mae.retrieval.clusters import kmeans
from keras_mae.retrieval.cosine import unit_vectors
from keras_mae.retrieval.map_page import page
from keras_mae.retrieval.projection import UMAP_NEIGHBOURS, check_method, pca, umap
from keras_mae.retrieval.search import nearest
from keras_mae.retrieval.thumbnails import thumbnails
from keras_mae.retrieval.vectors import Vectors
from keras_mae.whole_file import replace_file

NEIGHBOURS, CLUSTERS, THUMBNAIL_MEGABYTES = 12, 10, 16.0
_log = logging.getLogger("keras_mae")
_MEGABYTE = 1_000_000
_LARGEST = 65535  # coordinate
_NO_GROUP = 65535  # of an image without a label
_SIDE = 64  # of a thumbnail, in pixels
_TRIED = 200  # thumbnails, for the size of one


@dataclasses.dataclass(frozen=True)
class MapFacts:
    """What a map has.

    Attributes:
        num_images: points.
        num_thumbnails: images that the page shows.
        num_bytes: size of the file.
        notes: sentences on the page, about thumbnails and labels that are missing.
    """

    num_images: int
    num_thumbnails: int
    num_bytes: int
    notes: tuple[str, ...]


def write_map(
    vectors: Vectors,
    path: str,
    method: str = "pca",
    k: int = NEIGHBOURS,
    num_clusters: int = CLUSTERS,
    thumbnail_megabytes: float = THUMBNAIL_MEGABYTES,
) -> MapFacts:
    """Writes a map of the vectors: an HTML file that needs neither network nor other files.

    Vectors are divided by their lengths, so that near ones have a high cosine similarity. The page shows the image
    under the pointer, and after a click its nearest images by all dimensions; it colours by label and by cluster
    (k-means), and searches names. The same vectors, images and packages give the same bytes.

    Args:
        vectors: one or more.
        path: of the file, which appears whole or not at all; one that is there is replaced.
        method: of the projection, `"pca"` or `"umap"`.
        k: how many nearest images to keep for each.
        num_clusters: how many clusters to make.
        thumbnail_megabytes: of the file for thumbnails, about. If all would take more, a random sample of the images
            has them, always the same.

    Raises:
        ValueError: if there are no vectors, or some have no direction (zeros, NaN).
        ImportError: if `method` needs a package that is not installed.
        OSError: if the file cannot be written, or the storage of the images fails.
    """
    check_method(method)
    if not len(vectors):
        raise ValueError(f"{vectors.source} holds no vectors: there is nothing to draw")
    array = unit_vectors(vectors.array())
    kept = min(k, len(array) - 1)
    needed = min(max(k, UMAP_NEIGHBOURS - 1 if method == "umap" else 0), len(array) - 1)
    scores, indices = _others(array, needed)
    points, shares = pca(array)
    how = f"PCA, {shares.sum():.0%} of the variance"
    if method == "umap":
        points, how = umap(array, indices, scores, points), "UMAP"
    notes: list[str] = []
    jpegs = _jpegs(vectors, thumbnail_megabytes * _MEGABYTE, notes)
    colourings = _colourings(vectors, array, num_clusters, notes)
    facts = {
        "names": vectors.names,
        "colourings": [{"name": name, "classes": classes} for name, classes, _ in colourings],
        "k": kept,
    }
    data = {
        "facts": json.dumps(facts).encode(),
        "points": _on_grid(points).tobytes(),
        "groups": np.stack([groups for _, _, groups in colourings]).astype("<u2").tobytes(),
        "neighbours": indices[:, :kept].astype("<u4").tobytes(),
        "scores": np.round(scores[:, :kept] * 10_000).astype("<i2").tobytes(),
        "starts": np.cumsum([0, *map(len, jpegs)]).astype("<u4").tobytes(),
        "jpegs": b"".join(jpegs),
    }
    subtitle = f"{how}, of vectors {vectors.dim} wide"
    content = page(_title(vectors), subtitle, " ".join(notes), data).encode(errors="backslashreplace")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)

    def write(aside: str) -> None:
        with open(aside, "wb") as file:
            file.write(content)

    replace_file(path, write)
    return MapFacts(len(array), sum(map(bool, jpegs)), len(content), tuple(notes))


def _others(array: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest others of each vector, k = 0 included: cosine similarities and indices, `(N, k)`."""
    if k == 0:
        return np.zeros((len(array), 0), "float32"), np.zeros((len(array), 0), "int64")
    return nearest(array, array, k, exclude=np.arange(len(array)))


def _on_grid(points: np.ndarray) -> np.ndarray:
    """Coordinates as uint16 `(N, 2)`, one scale for both axes, and y downwards as on a screen."""
    points = points * [1, -1]
    low, high = points.min(axis=0), points.max(axis=0)
    span = (high - low).max()
    middle = (low + high) / 2
    return np.round(_LARGEST / 2 + (points - middle) * (_LARGEST / span if span > 0 else 0)).astype("<u2")


def _colourings(
    vectors: Vectors, array: np.ndarray, num_clusters: int, notes: list[str]
) -> list[tuple[str, list[str], np.ndarray]]:
    """What points can be coloured by: its name, the names of its classes, and the class of each image `(N,)`."""
    found = []
    if vectors.labels is not None:
        labels = np.asarray(vectors.labels)
        present = np.unique(labels[labels >= 0])
        if len(present) < _NO_GROUP:
            names = dict(enumerate(vectors.class_names))
            groups = np.where(labels >= 0, np.searchsorted(present, labels), _NO_GROUP)
            found.append(("label", [names.get(label, str(label)) for label in present.tolist()], groups))
        else:
            notes.append(f"{len(present):,} different labels are too many to colour by.")
    clusters = kmeans(array, num_clusters)
    found.append(("cluster", [str(number + 1) for number in range(clusters.max() + 1)], clusters))
    return found


def _jpegs(vectors: Vectors, budget: float, notes: list[str]) -> list[bytes]:
    """A JPEG file for each image, empty for one that has none here; adds to `notes` why."""
    count = len(vectors)
    found: list[bytes] = [b""] * count

    def read(places: np.ndarray) -> None:
        """Reads images in the order of their source, which is quickest."""
        places = np.sort(places)
        side = min(_SIDE, *vectors.header["image_shape"][:2]) if vectors.header.get("image_shape") else _SIDE
        for place, jpeg in zip(places, thumbnails(vectors.header, vectors.index[places], side)):
            found[place] = jpeg or b""

    order = np.random.default_rng(0).permutation(count)
    few = order[:_TRIED]
    try:
        read(few)
        each = len(gzip.compress(b"".join(found))) / len(few)  # compressed, as on the page
        fitting = int(budget / max(each, 1))
        if min(fitting, count) > len(few):
            read(order[:fitting])  # all at once, as the colours of more than three channels are those of one reading
    except ValueError as error:
        _log.warning("the map has no thumbnails: %s", error)
        notes.append("The images were not there when this map was made, so it shows their names alone.")
        return [b""] * count
    for place in order[fitting:]:
        found[place] = b""
    shown, wanted = sum(map(bool, found)), min(fitting, count)
    if fitting < count:
        notes.append(f"{shown:,} of the {count:,} images, a random sample, have a picture in this file.")
    if shown < wanted:
        notes.append(f"{wanted - shown:,} images could not be read.")
    return found


def _title(vectors: Vectors) -> str:
    data = str(vectors.header.get("data") or "")
    kind, _, rest = data.rpartition(":")
    name = os.path.basename(rest.rstrip("/")) if kind else rest
    return f"Map of {len(vectors):,} image{'s' * (len(vectors) != 1)}{f' of {name}' if name else ''}"

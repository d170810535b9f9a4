"""Specifications and names of images that hold in another working directory."""

import os

import numpy as np
import pytest

from keras_mae.data import ArraySource, FolderSource, Subset
from keras_mae.data.sources import absolute


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("digits", "digits"),
        ("folder:images", "folder:/here/images"),
        ("folder:/data/../images/", "folder:/images"),
        ("folder:gs://bucket/images", "folder:gs://bucket/images"),
        ("npz:../a:b.npz", "npz:/a:b.npz"),
        ("tfrecord:records/*.tfrecord", "tfrecord:/here/records/*.tfrecord"),
        ("tfds:cifar10:test", "tfds:cifar10:test"),
        ("tfds:ImageFolder:train@images", "tfds:ImageFolder:train@/here/images"),
        ("memory:folder:images", "memory:folder:/here/images"),
        ("disk:cache:memory:tfds:mnist@data", "disk:/here/cache:memory:tfds:mnist@/here/data"),
    ],
)
def test_paths_become_absolute(given, expected, monkeypatch):
    monkeypatch.setattr(os, "getcwd", lambda: "/here")
    assert absolute(given) == expected and absolute(expected) == expected


def test_what_is_no_specification_is_refused():
    with pytest.raises(ValueError, match="data is given as digits, folder:PATH"):
        absolute("images")
    with pytest.raises(ValueError, match="a cache is given as disk:CACHE:SPECIFICATION; got 'disk:images'"):
        absolute("disk:images")


def test_a_name_inside_a_source_tells_not_where_that_lies(tmp_path):
    for name in ("a/1.png", "b/c/new\nline.png", os.fsdecode(b"b/\xff.png")):
        os.makedirs(tmp_path / os.path.dirname(name), exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89PNG")
    source = FolderSource(str(tmp_path))
    names = [source.name_inside(number) for number in range(3)]
    assert names == ["a/1.png", "b/c/new\\nline.png", "b/\\xff.png"]
    assert [source.name_of(number) for number in range(3)] == [f"{tmp_path}/{name}" for name in names]
    assert Subset(source, np.array([2, 0])).name_inside(0) == "b/\\xff.png"
    assert ArraySource(np.zeros((2, 4, 4, 1), "uint8"), name="npz:/x.npz").name_inside(1) == "images[1]"

"""What the file of a map holds: its data read back, its budget, and that it is whole and always the same."""

import base64
import gzip
import itertools
import json
import os
import re

import numpy as np
import pytest

from keras_mae.retrieval import map as module
from keras_mae.retrieval import open_vectors, write_vectors
from keras_mae.retrieval.map import write_map

DTYPES = {"points": "<u2", "groups": "<u2", "neighbours": "<u4", "scores": "<i2", "starts": "<u4", "jpegs": "u1"}


def vectors_at(folder, array, labels=None, names=None, **header):
    names = [f"{number:03}.png" for number in range(len(array))] if names is None else names
    header = {"data": f"folder:{folder}/pictures", "image_shape": [16, 16, 3], **header}
    write_vectors(f"{folder}/v.npz", names, np.arange(len(array)), labels, array, header)
    return open_vectors(f"{folder}/v.npz")


def random_vectors(count, dim=6):
    return np.random.default_rng(0).normal(size=(count, dim)).astype("float32")


def embedded(path):
    """The data in a page, by name."""
    with open(path, encoding="utf-8") as file:
        parts = re.findall(r'<script type="text/plain" id="(\w+)">([A-Za-z0-9+/=]*)</script>', file.read())
    found = {name: gzip.decompress(base64.b64decode(text)) for name, text in parts}
    assert set(found) == {"facts", *DTYPES}
    return {
        name: json.loads(data) if name == "facts" else np.frombuffer(data, DTYPES[name]) for name, data in found.items()
    }


UNREADABLE = (2, 11)


def jpeg_of(index, side):
    """Bytes that stand for an image's, of 100 to 103 that cannot be compressed; the test of the page has true ones."""
    return b"\xff\xd8\xff" + bytes([side]) + np.random.default_rng(index).bytes(96 + index % 4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def thumbnails(header, index, side):
        assert header["data"] == f"folder:{tmp_path}/pictures" and (np.diff(index) > 0).all()
        return [None if number in UNREADABLE else jpeg_of(number, side) for number in index]

    monkeypatch.setattr(module, "thumbnails", thumbnails)
    return tmp_path


def test_the_data_in_the_page(folder):
    array = random_vectors(30)
    labels = np.where(np.arange(30) % 5 == 4, -1, 10 * (np.arange(30) % 5))
    facts = write_map(vectors_at(folder, array, labels), f"{folder}/map.html", k=4, num_clusters=3)
    data = embedded(folder / "map.html")
    assert facts.num_bytes == os.path.getsize(folder / "map.html")
    assert facts.num_thumbnails == 28 and facts.notes == ("2 images could not be read.",)
    label, cluster = data["facts"]["colourings"]
    assert label == {"name": "label", "classes": ["0", "10", "20", "30"]}
    assert cluster == {"name": "cluster", "classes": ["1", "2", "3"]}
    groups = data["groups"].reshape(2, 30)
    np.testing.assert_array_equal(groups[0], np.where(labels < 0, 65535, labels // 10))
    units = array.astype("float64") / np.linalg.norm(array, axis=1, keepdims=True)
    cosines = units @ units.T - 3 * np.eye(30)
    order = np.argsort(-cosines, axis=1)[:, :4]
    np.testing.assert_array_equal(data["neighbours"].reshape(30, 4), order)
    np.testing.assert_allclose(data["scores"].reshape(30, 4) / 1e4, np.take_along_axis(cosines, order, 1), atol=6e-5)
    jpegs = [data["jpegs"][slice(*ends)].tobytes() for ends in itertools.pairwise(data["starts"])]
    assert jpegs == [b"" if number in UNREADABLE else jpeg_of(number, 16) for number in range(30)]
    points = data["points"].reshape(30, 2)
    assert points.min() == 0 and points.max() == 65535


def test_the_same_vectors_make_the_same_file(folder):
    vectors = vectors_at(folder, random_vectors(30))
    for name in ("a", "b"):
        write_map(vectors, f"{folder}/{name}.html")
    assert (folder / "a.html").read_bytes() == (folder / "b.html").read_bytes()


def test_beyond_the_budget_a_fixed_sample_has_thumbnails(folder, monkeypatch):
    monkeypatch.setattr(module, "_TRIED", 5)
    vectors = vectors_at(folder, random_vectors(30))
    shown = {}
    for name, megabytes in {"all": 1, "half": 0.0015, "again": 0.0015, "few": 0.0004, "none": 0}.items():
        facts = write_map(vectors, f"{folder}/{name}.html", thumbnail_megabytes=megabytes)
        data = embedded(folder / f"{name}.html")
        shown[name] = set(np.flatnonzero(np.diff(data["starts"])))
        assert facts.num_thumbnails == len(shown[name])
        assert len(gzip.compress(data["jpegs"].tobytes())) <= 1.4e6 * megabytes + 20  # five tell the size
    assert len(shown["all"]) == 28 and shown["half"] == shown["again"] and not shown["none"]
    assert shown["few"] < shown["half"] < shown["all"] and len(shown["few"]) >= 1
    note = f"{len(shown['few'])} of the 30 images, a random sample, have a picture in this file."
    assert write_map(vectors, f"{folder}/few.html", thumbnail_megabytes=0.0004).notes[0] == note


def test_coordinates_fill_the_square_with_one_scale_for_both_axes():
    points = module._on_grid(np.array([[0.0, 5], [10, 0], [5, 2.5]]))
    np.testing.assert_array_equal(points[:, 0], [0, 65535, 32768])
    np.testing.assert_allclose(points[:, 1], [16384, 49151, 32768], atol=1)  # downwards
    np.testing.assert_array_equal(module._on_grid(np.full((3, 2), 7.0)), np.full((3, 2), 32768))


def test_nothing_in_the_html_comes_from_a_name_or_a_path_as_it_is(folder, monkeypatch):
    names = ["<script>alert(1)</script>", "</script>", "$title", *map(str, range(27))]
    monkeypatch.setattr(module, "thumbnails", lambda header, index, side: [None] * len(index))
    vectors = vectors_at(folder, random_vectors(30), names=names, data="folder:/home/me/<i>cats")
    write_map(vectors, f"{folder}/names.html")
    text = (folder / "names.html").read_text("utf-8")
    assert embedded(folder / "names.html")["facts"]["names"] == names
    assert "alert(1)" not in text and "<i>" not in text and "Map of 30 images of &lt;i&gt;cats" in text
    assert "/home/me" not in text  # who gets the file need not know where the images are
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src blob:;") and "unsafe" not in policy and "http" not in policy


def test_vectors_that_no_map_can_show(folder):
    array = random_vectors(4)
    array[2] = np.nan
    with pytest.raises(ValueError, match="vector 2 is not finite"):
        write_map(vectors_at(folder, array), f"{folder}/no.html")
    array[2] = 0
    with pytest.raises(ValueError, match="vector 2 is all zeros, and has no direction"):
        write_map(vectors_at(folder, array), f"{folder}/no.html")
    with pytest.raises(ValueError, match="v.npz holds no vectors: there is nothing to draw"):
        write_map(vectors_at(folder, np.zeros((0, 3), "float32")), f"{folder}/no.html")
    assert not os.path.exists(folder / "no.html")


def test_more_labels_than_there_are_numbers_for_are_left_out(folder, monkeypatch):
    monkeypatch.setattr(module, "_NO_GROUP", 5)
    facts = write_map(vectors_at(folder, random_vectors(30), np.arange(30)), f"{folder}/labels.html")
    assert facts.notes[-1] == "30 different labels are too many to colour by."
    assert [one["name"] for one in embedded(folder / "labels.html")["facts"]["colourings"]] == ["cluster"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    vectors = vectors_at(folder, random_vectors(30))
    write_map(vectors, f"{folder}/kept.html", k=2)
    before, there = (folder / "kept.html").read_bytes(), set(os.listdir(folder))

    def full(path, mode):
        file = open(path, mode)  # noqa: SIM115
        file.write(b"<!doc")
        file.close()
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(module, "open", full, raising=False)
    with pytest.raises(OSError, match="No space left on device"):
        write_map(vectors, f"{folder}/kept.html", k=3)
    assert (folder / "kept.html").read_bytes() == before and set(os.listdir(folder)) == there

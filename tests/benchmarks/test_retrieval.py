"""The benchmarks of searching vectors: their material, their figures, and a small form of the search."""

import os

import numpy as np
import pytest
from PIL import Image

from benchmarks import photo_crops, planted_duplicates, vector_search
from tests.drawn import drawn


@pytest.fixture(scope="module")
def pictures():
    """Noise, so that no two places are alike; and a plain one, which has no crop."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (220, 300, 3)).astype("uint8") for _ in range(12)]
    return [*noise, np.full((220, 300, 3), 90, "uint8"), drawn(40, 40)]


def test_crops_share_no_place_and_are_a_function_of_the_seed(pictures, monkeypatch):
    cut, original = [], photo_crops._cut
    monkeypatch.setattr(photo_crops, "_cut", lambda pictures, place: cut.append(place) or original(pictures, place))
    found = photo_crops.crops_apart(pictures, 20, seed=3)
    arrays = [np.asarray(crop) for crop in found]
    places = [place for place in cut if place[0] < 12]
    assert len(found) == 20 and len(places) == 20  # the plain one, and the small one, have none
    for number, place in enumerate(places):
        for other in places[:number]:
            if place[0] == other[0]:
                rows, columns = (
                    max(0, min(place[i] + place[3], other[i] + other[3]) - max(place[i], other[i])) for i in (1, 2)
                )
                assert rows * columns <= 0.1 * min(place[3], other[3]) ** 2
    assert all(np.array_equal(a, b) for a, b in zip(arrays, photo_crops.crops_apart(pictures, 20, seed=3)))
    with pytest.raises(ValueError, match="these 14 photographs have room for [0-9]+ crops, not for 200: give more"):
        photo_crops.crops_apart(pictures, 200, seed=3)


def test_planted_copies(pictures, tmp_path):
    originals = photo_crops.crops(pictures, 6, seed=0)
    planted = photo_crops.write_planted(str(tmp_path / "crops"), originals, 2)
    assert list(planted) == ["resized", "jpeg50", "mirrored"]
    assert sorted(planted["mirrored"].values()) == ["00004.png", "00005.png"]
    files = {name: np.asarray(Image.open(tmp_path / "crops" / name)) for name in os.listdir(tmp_path / "crops")}
    assert len(files) == 12
    for copy, original in planted["mirrored"].items():
        np.testing.assert_array_equal(files[copy][:, ::-1], files[original])
    for copy, original in planted["resized"].items():
        assert files[copy].shape[0] == round(files[original].shape[0] / 2)


def test_figures_by_hand():
    """Of three planted pairs two are found; the groups have 1 + 3 pairs, two of which are planted."""
    planted = {"resized": {"a2": "a", "b2": "b"}, "mirrored": {"c2": "c"}}
    names = ["a", "b", "c", "a2", "b2", "c2", "d"]
    figures = planted_duplicates.figures(names, [np.array([0, 3]), np.array([1, 4, 6])], planted)
    assert figures == {"precision": 0.5, "recall": 0.6667, "recall_resized": 1.0, "recall_mirrored": 0.0}
    assert planted_duplicates.figures(names, [], planted)["precision"] == 0.0


def test_both_searches_find_the_same(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("vectors", 2000), ("queries", 15)):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((count, 16), dtype="float32"))
    ours, sklearn = (vector_search.measure(side, str(tmp_path)) for side in ("ours", "sklearn"))
    assert ours["indices"] == sklearn["indices"] and np.shape(ours["indices"]) == (15, 10)
    assert ours["seconds"] >= 0 and ours["megabytes"] > 0

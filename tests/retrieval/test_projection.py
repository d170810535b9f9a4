"""Maps of vectors by principal components against a singular value decomposition, and the way to UMAP."""

import importlib.util

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from keras_mae import _compat
from keras_mae.retrieval import nearest, projection
from keras_mae.retrieval.cosine import unit_vectors
from keras_mae.retrieval.projection import check_method, pca, umap


def vectors_of(count, dim, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)).astype("float32") * np.linspace(3, 1, dim, dtype="float32") + 2


@hypothesis.given(st.integers(3, 40), st.integers(2, 12), st.integers(0, 99))
def test_pca_is_the_singular_value_decomposition(count, dim, seed):
    vectors = vectors_of(count, dim, seed)
    points, shares = pca(vectors)
    centred = vectors.astype("float64") - vectors.mean(axis=0, dtype="float64")
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(shares, values[:2] ** 2 / (values**2).sum(), atol=1e-9)
    expected = left[:, :2] * values[:2]
    for axis in range(2):
        sign = np.sign(right[axis][np.abs(right[axis]).argmax()])
        np.testing.assert_allclose(points[:, axis], sign * expected[:, axis], atol=1e-5)


def test_pca_does_not_depend_on_its_blocks(monkeypatch):
    vectors = vectors_of(50, 6)
    expected = pca(vectors)
    monkeypatch.setattr(projection, "_ROWS", 7)
    for found, value in zip(pca(vectors), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("vectors", [vectors_of(1, 3), np.tile(vectors_of(1, 3), (4, 1)), vectors_of(1, 1)])
def test_pca_of_equal_vectors_is_one_point(vectors):
    points, shares = pca(vectors)
    np.testing.assert_allclose(points, np.zeros((len(vectors), 2)), atol=1e-6)
    assert shares.shape == (2,) and np.isfinite(shares).all()


def test_pca_of_one_dimension_is_a_line():
    points, shares = pca(np.array([[1.0], [3.0], [8.0]], "float32"))
    np.testing.assert_allclose(points, [[-3, 0], [-1, 0], [4, 0]], atol=1e-9)
    np.testing.assert_allclose(shares, [1, 0])


def test_umap_is_refused_where_it_is_not_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "umap" else find(name))
    with pytest.raises(ImportError, match=r"needs umap-learn: pip install 'keras-mae\[umap\]', or take --method=pca"):
        check_method("umap")
    check_method("pca")


class Recorded:
    """Stands in for umap.UMAP, which takes ten seconds to compile itself; the test below runs the true one."""

    def __init__(self, **given):
        Recorded.given = given

    def fit_transform(self, vectors):
        return np.full((len(vectors), 2), Recorded.result)


def test_umap_begins_with_pca_and_has_exact_neighbours(monkeypatch):
    monkeypatch.setattr(_compat, "umap_class", lambda: Recorded)
    vectors = unit_vectors(vectors_of(20, 5))
    scores, indices = nearest(vectors, vectors, 14, exclude=np.arange(20))
    start, _ = pca(vectors)
    Recorded.result = 1.5
    assert (umap(vectors, indices, scores, start) == 1.5).all()
    given = Recorded.given
    assert given["n_neighbors"] == 15 and given["random_state"] == 0 and np.abs(given["init"]).max() == 10
    found, distances = given["precomputed_knn"]
    cosines = vectors.astype("float64") @ vectors.T.astype("float64")
    np.testing.assert_array_equal(found, np.argsort(-cosines, axis=1)[:, :15])  # each itself comes first
    np.testing.assert_allclose(distances, np.sort(1 - cosines, axis=1)[:, :15], atol=1e-6)
    Recorded.result = np.nan
    with pytest.raises(ValueError, match="UMAP finds no place for some of these vectors"):
        umap(vectors, indices, scores, start)
    np.testing.assert_array_equal(
        umap(vectors[:4], indices[:4, :3], scores[:4, :3], np.zeros((4, 2))), np.zeros((4, 2))
    )
    with pytest.raises(ValueError, match="UMAP needs 4 images or more, got 3: take --method=pca"):
        umap(vectors[:3], indices[:3, :2], scores[:3, :2], start[:3])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="needs umap-learn: pip install '.[umap]'")
def test_umap_keeps_groups_together_and_repeats_itself():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 60)
    vectors = unit_vectors((rng.normal(size=(4, 16))[groups] * 3 + rng.normal(size=(240, 16))).astype("float32"))
    scores, indices = nearest(vectors, vectors, 14, exclude=np.arange(240))
    first, second = (umap(vectors, indices, scores, pca(vectors)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    distances = np.linalg.norm(first[:, None] - first[None], axis=2) + 1e9 * np.eye(240)
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.97
    for few in (4, 5, 15, 16):
        part = vectors[:few]
        scores, indices = nearest(part, part, min(14, few - 1), exclude=np.arange(few))
        assert umap(part, indices, scores, pca(part)[0]).shape == (few, 2)

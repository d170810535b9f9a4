"""Files of vectors: what goes in comes out, whole, the same bytes each time, and other files are refused."""

import json
import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from pyarrow import parquet

from keras_mae.retrieval import open_vectors, write_vectors
from keras_mae.retrieval.vectors import shard_name

HEADER = {"pooling": "mean", "class_names": ["cat", "dog"], "weights": {"source": "encoder.keras", "digest": "ab"}}


def drawn(count=5, dim=3, dtype="float32"):
    rng = np.random.default_rng(count)
    names = [f"dog/ä {number}.png" for number in range(count)]
    return names, np.arange(count) * 2, np.arange(count) % 2, rng.normal(size=(count, dim)).astype(dtype)


def written(path, header=HEADER, labels=True, **sizes):
    names, index, classes, array = drawn(**sizes)
    write_vectors(str(path), names, index, classes if labels else None, array, header)
    return str(path)


@pytest.mark.parametrize("ending", ["parquet", "npz"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("labels", [True, False])
def test_what_is_written_is_read(tmp_path, ending, dtype, labels):
    names, index, classes, array = drawn(dtype=dtype)
    path = written(tmp_path / f"vectors.{ending}", {**HEADER, "dtype": dtype}, labels, dtype=dtype)
    vectors = open_vectors(path)
    assert (len(vectors), vectors.dim, vectors.names) == (5, 3, names)
    assert vectors.header == {**HEADER, "dtype": dtype, "dim": 3} and vectors.class_names == ("cat", "dog")
    np.testing.assert_array_equal(vectors.index, index, strict=True)
    assert vectors.labels is None if not labels else np.array_equal(vectors.labels, classes)
    np.testing.assert_array_equal(vectors.array(), array.astype("float32"), strict=True)
    for start, block in vectors.blocks(2):
        np.testing.assert_array_equal(block, array[start : start + 2].astype("float32"), strict=True)
    again = written(tmp_path / f"again.{ending}", {**HEADER, "dtype": dtype}, labels, dtype=dtype)
    with open(path, "rb") as one, open(again, "rb") as other:
        assert one.read() == other.read()
    assert sorted(os.listdir(tmp_path)) == [f"again.{ending}", f"vectors.{ending}"]


def test_other_programs_can_read_the_columns(tmp_path):
    schema = parquet.read_schema(written(tmp_path / "vectors.parquet"))
    kinds = {"index": "int64", "name": "string", "label": "int64", "vector": "fixed_size_list<element: float>[3]"}
    assert {name: str(schema.field(name).type) for name in schema.names} == kinds
    assert json.loads(schema.metadata[b"keras_mae"])["pooling"] == "mean"


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 6))
def test_shards_are_one_set(tmp_path_factory, sizes, rows):
    folder = tmp_path_factory.mktemp("vectors")
    parts = [drawn(size) for size in sizes]
    for number, (names, index, labels, array) in enumerate(parts):
        write_vectors(str(folder / shard_name(number, len(sizes))), names, index, labels, array, HEADER)
    vectors = open_vectors(str(folder))
    expected = np.concatenate([part[3] for part in parts])
    assert vectors.names == [name for part in parts for name in part[0]] and len(vectors) == sum(sizes)
    np.testing.assert_array_equal(vectors.array(), expected)
    blocks = list(vectors.blocks(rows))
    assert all(0 < len(block) <= rows for _, block in blocks)
    assert [start for start, _ in blocks] == [0, *np.cumsum([len(block) for _, block in blocks])][: len(blocks)]
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, 3)), *(block for _, block in blocks)]), expected)


def test_a_failure_keeps_the_file_that_is_there(tmp_path):
    path = written(tmp_path / "vectors.npz")
    before = open(path, "rb").read()
    with pytest.raises(ValueError, match=r"a vector \(N, D\), a name, an index and a label each; got \(5, 3\), 4 name"):
        write_vectors(path, ["a"] * 4, np.arange(5), None, np.zeros((5, 3)), {})
    with pytest.raises(ValueError, match="vectors are float32 or float16, got 'int8'"):
        write_vectors(path, ["a"] * 5, np.arange(5), None, np.zeros((5, 3)), {"dtype": "int8"})
    assert open(path, "rb").read() == before and os.listdir(tmp_path) == ["vectors.npz"]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file or folder .*missing.npz; vectors are written by keras-mae"):
        open_vectors(str(tmp_path / "missing.npz"))
    with pytest.raises(ValueError, match="ends in .parquet or .npz; got .*vectors.csv"):
        written(tmp_path / "vectors.csv")
    (tmp_path / "vectors.csv").write_text("a,b")
    with pytest.raises(ValueError, match="in a .parquet file, a .npz file or a folder of shards; got"):
        open_vectors(str(tmp_path / "vectors.csv"))
    with pytest.raises(
        ValueError, match="holds no vectors: a folder of vectors has files such as vectors-00000-of-00001"
    ):
        open_vectors(str(tmp_path))
    np.savez(tmp_path / "images.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match="holds no vectors of keras-mae embed: it lacks the array 'vectors'"):
        open_vectors(str(tmp_path / "images.npz"))
    table = parquet.read_table(written(tmp_path / "vectors.parquet"))
    parquet.write_table(table.replace_schema_metadata({}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="other.parquet holds no vectors of keras-mae embed: it lacks their header"):
        open_vectors(str(tmp_path / "other.parquet"))


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_a_file_that_was_cut_off_is_refused(tmp_path, ending):
    path = written(tmp_path / f"vectors.{ending}", count=500)
    contents = open(path, "rb").read()
    for length in (0, 3, len(contents) // 2, len(contents) - 1):
        with open(path, "wb") as file:
            file.write(contents[:length])
        with pytest.raises(ValueError, match="is damaged, or no file of vectors .*: remove it, and write it anew"):
            open_vectors(path)


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    for number in (0, 2):
        written(tmp_path / shard_name(number, 3))
    with pytest.raises(ValueError, match="holds 2 of 3 shards: embed the images anew with --overwrite"):
        open_vectors(str(tmp_path))
    written(tmp_path / shard_name(1, 3), {**HEADER, "pooling": "cls"})
    with pytest.raises(ValueError, match="vectors-00001-of-00003.parquet holds vectors of another set than .*headers"):
        open_vectors(str(tmp_path))
    written(tmp_path / shard_name(0, 1))
    with pytest.raises(ValueError, match="holds shards of several sets, such as vectors-00000-of-00001.parquet and"):
        open_vectors(str(tmp_path))


def test_a_block_has_a_vector(tmp_path):
    with pytest.raises(ValueError, match="a block has at least 1 vector, got rows=0"):
        list(open_vectors(written(tmp_path / "vectors.npz")).blocks(0))

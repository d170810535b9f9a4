"""`keras-mae map` as a user types it."""

import importlib.util
import inspect
import os

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.commands import mapping
from keras_mae.retrieval import write_vectors
from tests.typed import refused


@pytest.fixture
def vectors(tmp_path):
    array = np.random.default_rng(0).normal(size=(8, 4))
    header = {"data": f"npz:{tmp_path}/gone.npz", "image_shape": [8, 8, 3]}
    write_vectors(f"{tmp_path}/v.parquet", [f"n{i}" for i in range(8)], np.arange(8), None, array, header)
    return f"{tmp_path}/v.parquet"


def test_it_writes_a_page_and_says_what_is_in_it(capfd, caplog, vectors, tmp_path):
    output = f"{tmp_path}/new folder/map.html"
    assert cli.main(["map", f"--vectors={vectors}", f"--output={output}", "--k=3", "--clusters=2"]) == 0
    captured = capfd.readouterr()
    note, line = captured.out.splitlines()
    assert note == "The images were not there when this map was made, so it shows their names alone."
    assert f"the map has no thumbnails: npz:{tmp_path}/gone.npz: there is no such file" in caplog.text
    assert line.startswith(f"wrote {output}: 8 images, 0 of them with a thumbnail, ") and "MB; a browser" in line
    first = os.stat(output)
    message = refused(capfd, "map", f"--vectors={vectors}", f"--output={output}")
    assert message == f"keras-mae map: {output} is there already: name another output, or replace it with --overwrite"
    assert os.stat(output) == first
    assert cli.main(["map", f"--vectors={vectors}", f"--output={output}", "--overwrite"]) == 0
    assert os.stat(output).st_ino != first.st_ino and os.listdir(os.path.dirname(output)) == ["map.html"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=map"], "--output=map is no page; type --output=map.html"),
        (["--output=FOLDER/v.parquet"], "v.parquet is no page; type --output="),
        (["--output=FOLDER/x.html/"], "x.html/ is no page; type --output="),
        (["--output=FOLDER/f.html"], "f.html is a folder; name the HTML file to write, such as map.html"),
        (["--vectors=FOLDER/w.npz"], "w.npz: there is no such file or folder; keras-mae embed writes one"),
        (["--vectors=FOLDER/f.html"], "f.html holds no vectors"),
        (["--k=0"], "flag --k=0: 0 is not a positive integer"),
        (["--clusters=0"], "flag --clusters=0: 0 is not an integer in the range"),
        (["--thumbnail_megabytes=-1"], "flag --thumbnail_megabytes=-1: -1.0 is not a non-negative number"),
        (["--method=tsne"], "flag --method=tsne: value should be one of <pca|umap>"),
        (["--method=umap"], "a map by UMAP needs umap-learn: pip install 'keras-mae[umap]', or take --method=pca"),
    ],
)
def test_what_cannot_work(capfd, monkeypatch, vectors, tmp_path, flags, message):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "umap" else find(name, *more))
    os.mkdir(tmp_path / "f.html")
    flags = [flag.replace("FOLDER", str(tmp_path)) for flag in flags]
    given = [f"--vectors={vectors}", f"--output={tmp_path}/map.html", *flags]
    assert message in refused(capfd, "map", *given)
    assert not os.path.exists(tmp_path / "map.html")


def test_the_flags_have_the_defaults_of_the_function():
    from keras_mae.retrieval.map import write_map

    values = mapping.MAP.make_flags()
    given = inspect.signature(write_map).parameters
    for flag, name in {"method": "method", "k": "k", "clusters": "num_clusters",
                       "thumbnail_megabytes": "thumbnail_megabytes"}.items():  # fmt: skip
        assert values[flag].default == given[name].default

"""`keras-mae neighbours`, `duplicates` and `outliers` as a user types them."""

import base64
import csv
import dataclasses
import glob
import io
import os
import re

import numpy as np
import pytest
from PIL import Image

from keras_mae import cli
from keras_mae.commands import embedding, found
from keras_mae.data import open_source
from keras_mae.data.seen import Seen
from keras_mae.retrieval import open_vectors, thumbnails, write_vectors
from tests.base import small_encoder
from tests.drawn import as_image, drawn, encoded, write
from tests.typed import refused

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures of two classes, with a copy, and their vectors: the pixels of 4 x 4. Thumbnails are their indices."""
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        path = f"photos/{'cats' if number % 2 else 'dogs & co'}/{number:02}.png"
        write(path, encoded(as_image(drawn(24, 24, seed=number)), "png"))
    with Image.open("photos/cats/03.png") as picture:
        picture.save("photos/cats/03 again.jpg", quality=95)
    source = open_source("folder:photos")
    names = [source.name_inside(index) for index in range(source.num_images)]
    pixels = np.stack([np.asarray(Image.open(f"photos/{name}").resize((4, 4)), "float32").ravel() for name in names])
    header = {
        "data": f"folder:{tmp_path}/photos",
        "num_images": source.num_images,
        "data_digest": Seen(source).summary["digest"],
        "decoding": dataclasses.asdict(source.decoding),
        "image_shape": [16, 16, 3],
        "class_names": list(source.class_names),
        "weights": {"kind": "run", "source": str(tmp_path / "run"), "digest": "1"},
    }
    monkeypatch.setattr(thumbnails, "thumbnails", lambda header, index, side: [b"%d" % number for number in index])
    labels = np.array([source.class_names.index(os.path.dirname(name)) for name in names])
    write_vectors("vectors.parquet", names, np.arange(len(names)), labels, pixels, header)
    return tmp_path


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def typed(capfd, *words):
    capfd.readouterr()
    assert cli.main([*words]) == 0
    return capfd.readouterr().out


def test_neighbours_are_printed(folder, capfd):
    rows = table(
        typed(capfd, "neighbours", "--vectors=vectors.parquet", "--query=cats/03.png", "--query=dogs & co/00.png")
    )
    assert [row["query"] for row in rows] == ["cats/03.png"] * 10 + ["dogs & co/00.png"] * 10
    assert rows[0]["name"] == "cats/03 again.jpg" and rows[0]["rank"] == "1" and rows[0]["label"] == "cats"
    vectors = open_vectors("vectors.parquet")
    units = vectors.array() / np.linalg.norm(vectors.array(), axis=1, keepdims=True)
    cosines = units @ units[vectors.names.index("dogs & co/00.png")]
    order = [index for index in np.argsort(-cosines) if vectors.names[index] != "dogs & co/00.png"][:10]
    assert [row["name"] for row in rows[10:]] == [vectors.names[index] for index in order]
    assert [int(row["index"]) for row in rows[10:]] == order
    np.testing.assert_allclose([float(row["similarity"]) for row in rows[10:]], cosines[order], atol=1e-6)


def test_a_file_is_embedded(folder, capfd, monkeypatch):
    def embed(header, paths):
        assert header["weights"]["digest"] == "1"
        return np.stack([np.asarray(Image.open(path).resize((4, 4)), "float32").ravel() for path in paths])

    monkeypatch.setattr(embedding, "embed_image_files", embed)
    with Image.open("photos/cats/07.png") as picture:
        picture.save("query.jpg", quality=90)
    said = typed(
        capfd,
        "neighbours",
        "--vectors=vectors.parquet",
        "--query=query.jpg",
        "--query=cats/07.png",
        "--k=2",
        "--output=out",
    )
    assert said.startswith("wrote out/neighbours.csv and out/neighbours.html\n")
    with open("out/neighbours.csv") as file:
        rows = table(file.read())
    assert [row["name"] for row in rows][:1] == ["cats/07.png"] and rows[2]["name"] != "cats/07.png"  # not itself
    with open("out/neighbours.html") as file:
        page = file.read()
    assert page.count("data:image/jpeg") == 6 and page.count("the query") == 2 and "nearest to query.jpg" in page


def test_duplicates(folder, capfd):
    rows = table(typed(capfd, "duplicates", "--vectors=vectors.parquet"))
    assert [(row["group"], row["name"]) for row in rows] == [("1", "cats/03 again.jpg"), ("1", "cats/03.png")]
    assert rows[0]["similarity"] == "1.000000" and 0.97 <= float(rows[1]["similarity"]) <= 1
    assert table(typed(capfd, "duplicates", "--vectors=vectors.parquet", "--threshold=1")) == []
    said = typed(capfd, "duplicates", "--vectors=vectors.parquet", "--output=out/below")
    assert said.splitlines()[1] == "Groups of duplicates: 1, among 41 images. Copies besides the first of each: 1."
    assert sorted(os.listdir("out/below")) == ["duplicates.csv", "duplicates.html"]
    with open("out/below/duplicates.html") as file:
        page = file.read()
    assert page.count("data:image/jpeg") == 2 and "Mirrored copies are found with --mirrored only." in page


def test_outliers_with_more_images_than_a_page_shows(folder, capfd, monkeypatch):
    monkeypatch.setattr(found, "_SHOWN", 5)
    typed(capfd, "outliers", "--vectors=vectors.parquet", "--output=out", "--k=3")
    with open("out/outliers.csv") as file:
        rows = table(file.read())
    distances = [float(row["distance"]) for row in rows]
    assert len(rows) == 41 and distances == sorted(distances, reverse=True)
    with open("out/outliers.html") as file:
        page = file.read()
    assert page.count("data:image/jpeg") == 5 and "Shown are the first 5 of 41; outliers.csv has all." in page
    assert "dogs &amp; co" in page and "neighbour 3 of 41 images; exact." in page


def test_a_page_without_the_images_says_so(folder, monkeypatch):
    def gone(header, index, side):
        raise ValueError("folder:photos: there is no such folder")

    monkeypatch.setattr(thumbnails, "thumbnails", gone)
    assert cli.main(["outliers", "--vectors=vectors.parquet", "--output=out"]) == 0
    with open("out/outliers.html") as file:
        page = file.read()
    assert "data:image" not in page and page.count("no picture<") == 41
    assert "There are no pictures: folder:photos: there is no such folder" in page


def test_only_its_own_files_are_replaced_and_on_request_only(folder, capfd):
    words = ["outliers", "--vectors=vectors.parquet", "--output=out"]
    write("out/notes.txt", b"years of work")
    assert "out is there already: choose another output, or allow the replacement" in refused(capfd, *words)
    typed(capfd, *words, "--overwrite")
    assert sorted(os.listdir("out")) == ["notes.txt", "outliers.csv", "outliers.html"]


def test_vectors_that_are_no_directions_leave_nothing_behind(folder, capfd):
    vectors = open_vectors("vectors.parquet").array()
    vectors[5] = 0
    write_vectors("zero.npz", [str(n) for n in range(41)], np.arange(41), None, vectors, {"image_shape": [16, 16, 3]})
    for command in ("duplicates", "outliers"):
        said = refused(capfd, command, "--vectors=zero.npz", "--output=out")
        assert said == f"keras-mae {command}: vector 5 is all zeros, and has no direction: leave it out"
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["neighbours", "--vectors=vectors.parquet"], "neighbours: needs --query; see keras-mae neighbours --help"),
        (
            ["outliers", "--vectors=v.npz"],
            "outliers: --vectors=v.npz: there is no such file or folder; keras-mae embed",
        ),
        (["outliers", "--vectors=photos/cats/03.png"], "outliers: vectors lie in a .parquet file, a .npz file or"),
        (
            ["neighbours", "--vectors=vectors.parquet", "--query=cats/3.png"],
            "neighbours: --query=cats/3.png is neither a name among the vectors nor an image file; did you mean cats/",
        ),
        (["outliers", "--vectors=vectors.parquet", "--output=out.csv"], "name a folder for both files: --output=out"),
        (["outliers", "--vectors=vectors.parquet", "--output=vectors.parquet"], "vectors.parquet is a file; name a"),
        (["duplicates", "--vectors=vectors.parquet", "--threshold=2"], "duplicates: flag --threshold=2: 2.0 is not"),
        (["neighbours", "--vectors=vectors.parquet", "--query=x", "--k=0"], "neighbours: flag --k=0: 0 is not"),
        (
            ["duplicates", "--vectors=vectors.parquet", "--mirrored"],
            "duplicates: the header of the vectors has no pooling",
        ),
    ],
)
def test_what_is_refused(folder, capfd, words, message):
    assert message in refused(capfd, *words)


def test_a_thumbnail_of_a_deep_image_is_stretched(tmp_path):
    y, x = np.mgrid[:96, :96]
    Image.fromarray((1000 + 50 * (x + y)).astype("uint16")).save(tmp_path / "deep.png")
    levels = np.asarray(Image.open(io.BytesIO(found._of_file(str(tmp_path / "deep.png")))), "float32")
    assert np.abs(levels[..., 0] - 255 * (x + y) / 190).max() < 6 and np.ptp(levels) > 240
    assert found._of_file(str(tmp_path / "gone.png")) is None


@pytest.mark.medium
def test_with_an_encoder_and_thumbnails(folder, capfd, monkeypatch):
    """The query's file has the vector of the same image, mirrored copies are one group, and pages have pictures."""
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    for number in range(10, 40):
        os.remove(next(glob.iglob(f"photos/*/{number}.png")))
    encoder = small_encoder((16, 16, 3))
    encoder.save("encoder.keras")
    for number in (4, 8):
        with Image.open(f"photos/dogs & co/{number:02}.png") as picture:
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(f"photos/dogs & co/{number:02} mirrored.png")
    assert cli.main(["embed", "--run=encoder.keras", "--data=folder:photos", "--output=new.npz"]) == 0
    rows = table(typed(capfd, "neighbours", "--vectors=new.npz", "--query=photos/cats/09.png", "--k=1"))
    assert rows[0]["name"] == "cats/09.png" and float(rows[0]["similarity"]) > 0.99999
    words = ["duplicates", "--vectors=new.npz", "--mirrored", "--threshold=0.9999", "--output=out"]
    typed(capfd, *words)
    with open("out/duplicates.csv") as file:
        names = [row["name"] for row in table(file.read())]
    assert names == [f"dogs & co/{number}{kind}.png" for number in ("04", "08") for kind in (" mirrored", "")]
    with open("out/duplicates.html") as file:
        pictures = re.findall('data:image/jpeg;base64,([^"]+)', file.read())
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))), "float32") for picture in pictures]
    assert len(shown) == 4 and np.abs(shown[0][:, ::-1] - shown[1]).mean() < 8  # what JPEG loses of the noise
    encoder.set_weights([value + 1 for value in encoder.get_weights()])
    encoder.save("encoder.keras")
    said = refused(capfd, "neighbours", "--vectors=new.npz", "--query=photos/cats/09.png")
    assert "encoder.keras holds other weights than those that made the vectors" in said

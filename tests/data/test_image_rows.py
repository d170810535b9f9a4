"""Which image a row of a table names: by its path below the folder, with or without ending, or the end of its path."""

import logging
import unicodedata

import numpy as np
import pytest

from keras_mae.data import FolderSource, Subset, open_source, write_records
from keras_mae.data.image_rows import rows_by_name
from keras_mae.data.relabelled import Relabelled
from tests.drawn import as_image, drawn, encoded, write

pytestmark = pytest.mark.usefixtures("png_and_jpeg")
PATHS = ("a/1.png", "a/2.png", "b/1.png", "c.v2.jpeg", "deep/er/Ä 9.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "set"
    for number, name in enumerate(PATHS):
        form = "JPEG" if name.endswith("jpeg") else "PNG"
        write(path / name, encoded(as_image(drawn(5, 6, seed=number)), form))
    return path


def rows_of(source, names):
    return rows_by_name(source, names, lambda row: f"row {row}", "labels.csv", "image").tolist()


@pytest.mark.parametrize(
    "name",
    ["deep/er/Ä 9.png", "deep/er/Ä 9", "Ä 9.png", "Ä 9", "er/Ä 9", "./deep/er/Ä 9.png", "deep//er/Ä 9",
     "deep\\er\\Ä 9.png",
     "set/deep/er/Ä 9.png", " Ä 9.png ", unicodedata.normalize("NFD", "Ä 9.png")],
)  # fmt: skip
def test_ways_to_name_one_image(folder, name, caplog):
    assert rows_of(FolderSource(str(folder)), ["no.png", name]) == [-1, -1, -1, -1, 1]
    assert "4 of 5 images have no row in labels.csv and are left out, such as " in caplog.text


def test_whole_paths_and_unnamed_rows(folder, caplog):
    caplog.set_level(logging.INFO, "keras_mae")
    names = [f"{folder}/b/1.png", "c.v2", "a/1", "a/2.png", "deep/er/Ä 9", "", "d/1.png"]
    assert rows_of(FolderSource(str(folder)), names) == [2, 3, 0, 1, 4]
    assert caplog.messages == ["2 of 7 rows of labels.csv name none of these images, such as ''"]


def test_wrong_endings_folders_and_cases_name_nothing(folder):
    names = ["a/1.jpg", "c.jpeg", "c.v2.png", "x/a/2.png", "A/2.png", "2.PNG", "b/1.png"]
    assert rows_of(FolderSource(str(folder)), names) == [-1, -1, 6, -1, -1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png"], "row 0: '1.png' may mean .*/set/a/1.png or .*/set/b/1.png: write more of the path, or "),
        (["1"], "row 0: '1' may mean .*/set/a/1.png or .*/set/b/1.png"),
        (["a/1.png", "b/1.png", "a/1"], "row 0 and row 2 both name a/1.png: keep one"),
        (["z.png", "y.png"], "labels.csv: no row names one of the 5 images: column 'image' says 'z.png', and the "
         "images are such as 'a/1.png'; names are paths below the folder"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_understood(folder, names, message):
    with pytest.raises(ValueError, match=message):
        rows_of(FolderSource(str(folder)), names)


def test_a_path_below_the_folder_is_nearer_than_a_file_name(tmp_path):
    for name in ("1.png", "sub/1.png", "2.png", "2.png.png"):
        write(tmp_path / name, encoded(as_image(drawn(5, 6)), "PNG"))
    source = FolderSource(str(tmp_path))
    assert [source.name_inside(index) for index in range(4)] == ["1.png", "2.png", "2.png.png", "sub/1.png"]
    assert rows_of(source, ["1.png", "2.png", "sub/1"]) == [0, 1, -1, 2]


@pytest.mark.medium
def test_parts_of_sources_and_records_know_the_names(folder, tmp_path):
    source = FolderSource(str(folder))
    assert rows_of(Subset(source, np.array([4, 2])), ["b/1.png", "Ä 9"]) == [1, 0]
    with pytest.raises(ValueError, match="are written with classes, and these images have numbers; write the images"):
        write_records(Relabelled(source, np.arange(5), np.zeros((5, 1)), "numbers", label_names=["x"]), str(tmp_path))
    write_records(source, str(tmp_path), 2)
    records = open_source(f"tfrecord:{tmp_path}/*.tfrecord")
    assert rows_of(records, ["c.v2", "b/1.png", "a/2", "Ä 9.png", "a/1.png"]) == [4, 2, 1, 0, 3]

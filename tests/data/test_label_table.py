"""Tables of labels: what a CSV or Parquet file may look like, and what is refused, with the place of the fault."""

import codecs
import csv
import io

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from keras_mae.data import ArraySource
from keras_mae.data.columns import labels_of
from keras_mae.data.label_table import LabelTable

PLAIN = "image,label,age\na.png,cat,3\nb.png,dog,4.5\n"


def table(tmp_path, text, name="labels.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return LabelTable(str(path), **options)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.rstrip("\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", " , "),
        codecs.BOM_UTF8 + PLAIN.encode(),
        codecs.BOM_UTF8 + PLAIN.replace("\n", "\r\n").replace(",", ";").encode(),
        '"image","label","age"\n"a.png","cat","3"\n"b.png","dog","4.5"\n',
        "\n\nimage,label,age\n\na.png,cat,3\n\n\nb.png,dog,4.5\n\n",
        ",image,label,age\n0,a.png,cat,3\n1,b.png,dog,4.5\n",  # as pandas writes its index
        "Unnamed: 0,image,label,age\n0,a.png,cat,3\n1,b.png,dog,4.5\n",  # and again
        'note,image,label,age\n"one; two, ""three""\nfour",a.png,cat,3\n,b.png,dog,4.5\n',
    ],
)
def test_forms_of_one_table(tmp_path, text):
    found = table(tmp_path, text)
    assert found.image_column == "image" and [name for name in found.column_names if name != "note"] == ["label", "age"]
    assert found.column("image").texts() == ["a.png", "b.png"]
    assert found.column("label").names() == ["cat", "dog"]
    assert found.column("age").numbers().tolist() == [3.0, 4.5]


def test_parquet_with_types(tmp_path):
    columns = {
        "file": ["a", "b", "c"],
        "grade": pyarrow.array([10, 2, 2], pyarrow.int8()),
        "weight": pyarrow.array([1.5, None, 3.0]),
        "ill": pyarrow.array([True, False, None]),
        "kind": pyarrow.array(["x", "y", "x"]).dictionary_encode(),
        "list": pyarrow.array([[1], [2], [3]]),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    found = LabelTable(str(tmp_path / "labels.parquet"))
    assert found.image_column == "file" and found.num_rows == 3
    assert found.column("grade").names() == ["2", "10"] and found.column("kind").names() == ["x", "y"]
    assert found.column("grade").classes(["2", "10"]).tolist() == [1, 0, 0]
    assert found.column("ill")[np.array([1, 0])].truths().tolist() == [0, 1]
    with pytest.raises(ValueError, match="row 2 of labels.parquet, column 'weight': is empty, and a number is needed"):
        found.column("weight").numbers()
    with pytest.raises(ValueError, match="row 3 of labels.parquet, column 'ill': is empty"):
        found.column("ill")[np.array([0, 2])].truths()
    with pytest.raises(ValueError, match="column 'list' holds list<.*a column of labels holds texts, numbers or truth"):
        found.column("list")


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"]),
        (["10", "9", "-1"], ["-1", "9", "10"]),  # whole numbers by size
        (["1.0", "0.0", "3.0"], ["0", "1", "3"]),  # as pandas writes integers beside missing ones
        (["007", "7", "7"], ["007", "7"]),  # an identifier, not a number
        (["True", "False", "True"], ["False", "True"]),
        (["", "b", "a"], ["a", "b"]),  # an empty one is no class
        (["Ä", "a", "z"], ["a", "z", "Ä"]),
    ],
)
def test_classes_are_numbered_by_their_sorted_names(tmp_path, cells, names):
    found = table(tmp_path, "image,label\n" + "".join(f"{n}.png,{cell}\n" for n, cell in enumerate(cells)))
    column = found.column("label")
    assert column.names() == names
    filled = np.flatnonzero([bool(cell) for cell in cells])
    expected = [names.index(column.texts_or_blanks()[index]) for index in filled]
    assert column[filled].classes(names).tolist() == expected


@pytest.mark.parametrize(
    ("cell", "task", "message"),
    [
        ("", "classes", "row 3 of labels.csv, column 'x': is empty"),
        ("", "labels", "row 3 of labels.csv, column 'x': is empty, and of several labels each is 0 or 1"),
        ("", "numbers", "row 3 of labels.csv, column 'x': is empty, and a number is needed"),
        ("nan", "numbers", "row 3 .* 'nan' is not a finite number"),
        ("1e60", "numbers", "'1e60' is not a finite number"),
        ("3,5", "numbers", "'3,5' is no number: write a decimal point, not a comma"),
        ("1_000", "numbers", "'1_000' is no number"),
        ("old", "numbers", "'old' is no number"),
        ("2", "labels", "'2' is neither 0 nor 1, as a label must be"),
        ("-1", "labels", "'-1' is neither 0 nor 1"),
        ("0.5", "classes", "'0.5' is the name of no class: .* of numbers take --set task=numbers"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(tmp_path, cell, task, message):
    found = table(tmp_path, f'image,x\na.png,1\nb.png,"{cell}"\nc.png,0\n')
    with pytest.raises(ValueError, match=message):
        labels_of([found.column("x")], task, found.column("x").names())


def test_nan_is_no_class_and_bad_cells_are_counted(tmp_path):
    found = table(tmp_path, "image,x,y\na.png,cat,1\nb.png,nan,z\nc.png,dog,z\n")
    with pytest.raises(ValueError, match="row 3 of labels.csv, column 'x': 'nan' is the name of no class"):
        labels_of([found.column("x")], "classes", found.column("x").names())
    with pytest.raises(ValueError, match=r"'z' is no number \(2 such values\)$"):
        found.column("y").numbers()


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (None, "labels.csv", "there is no such file; a table of labels is a CSV or Parquet file"),
        ("", "labels.csv", "has no row below its header"),
        ("image,label\n", "labels.csv", "has no row below its header"),
        ("image,label\na.png,cat\nb.png,dog,3\n", "labels.csv", "is no table: .*Expected 2 columns, got 3: b.png"),
        ("image,label,label\na.png,cat,dog\n", "labels.csv", "has two columns called 'label': name them differently"),
        ("a.png,cat\nb.png,dog\n", "labels.csv", "no column of a.png, cat is called image, .*--set image_column="),
        ("image,ort\na.png,Köln\n".encode("latin-1"), "labels.csv", "is no table: .*; it is not in UTF-8: save it so"),
        ("image,label\na.png,cat\n".encode("utf-16"), "labels.csv", "it is in UTF-16: save it as CSV in UTF-8"),
        ("image,label\na.png,cat\n", "labels.parquet", "labels.parquet: is no table: "),
    ],
)  # fmt: skip
def test_no_table(tmp_path, text, name, message):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as error:
        LabelTable(str(tmp_path / name))
    assert len(str(error.value).splitlines()) == 1


def test_a_column_that_is_not_there(tmp_path):
    found = table(tmp_path, PLAIN)
    with pytest.raises(ValueError, match="has no column 'labels'; did you mean label.* There are: image, label, age"):
        found.column("labels")
    with pytest.raises(ValueError, match="has no column 'pictur'"):
        table(tmp_path, PLAIN, image_column="pictur")
    assert table(tmp_path, PLAIN, image_column="label").column_names == ["image", "age"]


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6).map(lambda text: f"t{text}".strip())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"])
)
def test_any_texts_come_back(tmp_path_factory, rows, separator, end):
    """Written by the standard library, with quotes where it thinks them necessary."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([("image", "label"), *rows])
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    path.write_bytes(text.getvalue().encode())
    found = LabelTable(str(path))
    assert list(zip(found.column("image").texts(), found.column("label").texts())) == rows


def test_images_in_memory_are_named_by_their_numbers(tmp_path):
    source = ArraySource(np.zeros((3, 2, 2, 1), "uint8"))
    assert table(tmp_path, "id,label\n2,a\n0,b\n1,c\n").rows_of(source).tolist() == [1, 2, 0]


def test_values_that_would_be_taken_for_others(tmp_path):
    stamps = table(tmp_path, "image,at\na,1700000000\nb,1700000001\nc,1700009999\n").column("at")
    with pytest.raises(ValueError, match="single precision does not tell apart, such as 1700000000 and 1700000001"):
        stamps.numbers()
    several = table(tmp_path, "image,l\na,0\nb,0.5\nc,1\n").column("l")
    with pytest.raises(ValueError, match=r"'0.5' is neither 0 nor 1"):
        several.truths()
    source = ArraySource(np.zeros((3, 2, 2, 1), "uint8"))
    counted = table(tmp_path, "image,l\n1,0\n2,1\n3,1\n")
    with pytest.raises(ValueError, match="counts the images from 1 to 3, and they are numbered from 0: subtract 1"):
        counted.rows_of(source)

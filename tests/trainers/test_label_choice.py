"""Labels that a user names: tables, features and arrays; and the split of the images by a share, folds or a column."""

import logging

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from keras_mae.data.seen import Seen
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.labelled_data import labelled_sources
from keras_mae.trainers.settings import replaced
from tests.base import random_images
from tests.drawn import as_image, drawn, encoded, write

COUNT = 20
ROWS = [
    # image, kind, a, b, age, patient, part, fold
    (f"s{n % 2}/{n:02}.png", ("ape", "bee", "cow")[n % 3], n % 2, int(n % 4 < 3), n * 1.5, f"p{n // 4}",
     ("train", "val", "train", "train", "test")[n % 5], n % 5)
    for n in range(COUNT)
]  # fmt: skip
HEADER = "image,kind,a,b,age,patient,part,fold"
NAMES = [row[0] for row in ROWS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    for number, name in enumerate(NAMES):
        write(path / "set" / name, encoded(as_image(drawn(6, 6, seed=number)), "PNG"))
    write_table(path / "labels.csv", ROWS)
    return path


def write_table(path, rows, header=HEADER):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return str(path)


def chosen(folder, data=None, **settings):
    given = {"labels": str(folder / "labels.csv"), **settings}
    return labelled_sources(replaced(ProbeConfig(), **given), data or f"folder:{folder}/set")


def names(source):
    return [source.name_inside(index) for index in range(source.num_images)]


def warnings(caplog):
    """What a user is warned of, whatever level other tests have set."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def everything(found):
    """Label by name of all images, to train on and to test on, of which none is in both."""
    both = [dict(zip(names(source), source.labels.tolist())) for source in (found.train, found.validation)]
    assert not both[0].keys() & both[1].keys()
    return both[0] | both[1]


def test_classes_of_a_table(folder, caplog):
    found = chosen(folder, label_columns="kind")
    assert (found.task, found.num_classes, found.names) == ("classes", 3, ["ape", "bee", "cow"])
    assert everything(found) == {row[0]: ["ape", "bee", "cow"].index(row[1]) for row in ROWS}
    assert found.validation.num_images == 3 and sorted(found.validation.labels) == [0, 1, 2]  # a tenth of each, rounded
    assert int(found.train.read(3)["label"]) == found.train.labels[3] and not warnings(caplog)
    assert found.train.class_names == found.validation.class_names == ["ape", "bee", "cow"]


def test_several_labels_and_numbers_of_a_table(folder):
    found = chosen(folder, label_columns="b,a", task="labels")
    assert (found.task, found.num_outputs, found.names) == ("labels", 2, ["b", "a"])
    assert everything(found) == {row[0]: [row[3], row[2]] for row in ROWS} and found.train.labels.dtype == np.float32
    assert found.train.read(2)["label"].numpy().tolist() == found.train.labels[2].tolist()
    found = chosen(folder, label_columns="age", task="numbers")
    assert everything(found) == {row[0]: [row[4]] for row in ROWS} and found.num_outputs == 1
    with pytest.raises(ValueError, match="classes are needed, and the labels of these images are numbers"):
        found.num_classes  # noqa: B018
    assert Seen(found.train).summary["label_names"] == ["age"]


def test_all_columns_but_those_of_names_and_splits(folder, tmp_path):
    write_table(tmp_path / "labels.csv", [row[:1] + row[2:4] + row[5:6] for row in ROWS], "image,a,b,patient")
    found = chosen(tmp_path, f"folder:{folder}/set", task="labels", group_column="patient")
    assert found.names == ["a", "b"]
    with pytest.raises(
        ValueError, match="labels.csv: name the column of the classes, --label_columns=...; there are: a"
    ):
        chosen(tmp_path, f"folder:{folder}/set")
    with pytest.raises(ValueError, match="column 'image' has the images' names, and no labels: name another one"):
        chosen(tmp_path, f"folder:{folder}/set", label_columns="image")


def test_a_table_of_one_label_needs_no_more(folder, tmp_path, caplog):
    rows = [row[:2] for row in ROWS if row[0] != NAMES[4]] + [("gone.png", "dodo")]
    write_table(tmp_path / "labels.csv", rows, "file,kind")
    found = chosen(tmp_path, f"folder:{folder}/set")
    assert found.names == ["ape", "bee", "cow", "dodo"]  # so that another folder with this table numbers them alike
    assert len(everything(found)) == COUNT - 1
    left, *lacking = warnings(caplog)
    assert left.startswith("1 of 20 images have no row in ") and left.endswith(
        f"and are left out, such as {folder}/set/s0/04.png"
    )
    assert lacking == [
        "1 of 4 classes have no image to train on: dodo",
        "1 of 4 classes have no image to test on: dodo",
    ]


def test_a_changed_table_is_changed_data(folder, tmp_path):
    path = tmp_path / "labels.parquet"

    def seen(kinds):
        parquet.write_table(pyarrow.table({"image": NAMES, "kind": kinds}), path)
        found = chosen(folder, labels=str(path))
        return Seen(found.train, found.validation)

    kinds = [row[1] for row in ROWS]
    before = seen(kinds)
    before.write_images(str(tmp_path / "seen.gz"))
    summary = before.summary
    assert summary["class_names"] == ["ape", "bee", "cow"]
    assert seen(kinds).changed_since(summary, str(tmp_path / "seen.gz")) == ""
    change = seen(["cow", *kinds[1:]]).changed_since(summary, str(tmp_path / "seen.gz"))
    assert change == "1 image was relabelled: s0/00.png (ape to cow)"


def test_validation_data_with_the_same_table_and_with_another(folder, tmp_path):
    for number in range(4):
        write(tmp_path / "other" / f"{number:02}.png", encoded(as_image(drawn(6, 6, seed=50 + number)), "PNG"))
    data = f"folder:{tmp_path}/other"
    own = write_table(tmp_path / "own.csv", [("00", "cow"), ("01", "ape"), ("02", "ape")], "name,kind")
    found = chosen(folder, label_columns="kind", validation_data=data, validation_labels=own)
    assert names(found.validation) == ["00.png", "01.png", "02.png"] and found.validation.labels.tolist() == [2, 0, 0]
    assert found.train.num_images == COUNT
    strange = write_table(tmp_path / "own.csv", [("00", "cow"), ("01", "eel")], "name,kind")
    with pytest.raises(
        ValueError, match="row 3 of own.csv, column 'kind': 'eel' is none of the 3 classes of the images to t"
    ):
        chosen(folder, label_columns="kind", validation_data=data, validation_labels=strange)


def test_a_row_that_names_images_of_both_folders(folder, tmp_path):
    """A table of file names alone cannot tell the images of two folders apart; the same image twice is no fault."""
    for name in ("one", "two"):
        for number in range(2):
            write(tmp_path / name / f"{number}.png", encoded(as_image(drawn(6, 6, seed=number)), "PNG"))
    table = write_table(tmp_path / "names.csv", [("0.png", "a"), ("1.png", "b")], "image,kind")
    data, other = (f"folder:{tmp_path}/{name}" for name in ("one", "two"))
    with pytest.raises(
        ValueError, match="names.csv: the row of image .*/one/0.png to train on is that of image .*/two/0"
    ):
        chosen(folder, data, labels=table, validation_data=other)
    assert chosen(folder, data, labels=table, validation_data=data).validation.labels.tolist() == [0, 1]
    table = write_table(tmp_path / "paths.csv", [("one/0.png", "a"), ("one/1", "b"), ("two/1.png", "b")], "image,kind")
    assert chosen(folder, data, labels=table, validation_data=other).validation.labels.tolist() == [1]


def test_arrays_and_features(folder, tmp_path):
    ages, kinds = np.arange(12) / 4, np.array(["x", "y", "z"] * 4)
    arrays = {"images": random_images(12, (4, 4, 1)), "age": ages, "kind": kinds, "labels": np.eye(12)[:, :2]}
    np.savez(tmp_path / "set.npz", **arrays, group=np.arange(12) // 4)
    data = f"npz:{tmp_path}/set.npz"
    found = chosen(tmp_path, data, labels=None, label_columns="age", task="numbers")
    assert sorted([*found.train.labels[:, 0], *found.validation.labels[:, 0]]) == ages.tolist()
    found = chosen(tmp_path, data, labels=None, label_columns="kind", group_column="group")
    assert found.names == ["x", "y", "z"] and found.validation.num_images == 4
    found = chosen(tmp_path, data, labels=None, task="labels")  # the array called labels
    assert found.names == ["labels[0]", "labels[1]"]
    for settings, message in (
        (
            {"label_columns": "labels"},
            r"task=classes has one column of labels, got labels\[0\], labels\[1\]: type --set",
        ),
        (
            {"label_columns": "ages", "task": "numbers"},
            "nothing called 'ages' lies beside the images; did you mean age",
        ),
        ({"label_columns": "kind", "task": "numbers"}, r"set.npz\[0\], column 'kind': 'x' is no number"),
        ({}, "beside them lie age, kind, .* see --label_columns"),
    ):
        with pytest.raises(ValueError, match=message):
            chosen(tmp_path, data, labels=None, **settings)
    with pytest.raises(ValueError, match="task=numbers needs columns of labels: give a table .*; there are: none"):
        chosen(tmp_path, f"folder:{folder}/set", labels=None, task="numbers")


def test_numbers_that_never_change_and_labels_that_nobody_has(folder, tmp_path, caplog):
    rows = [(name, 1, number % 3 == 0) for number, name in enumerate(NAMES)]
    write_table(tmp_path / "labels.csv", [(name, one, int(other)) for name, one, other in rows], "image,one,other")
    with pytest.raises(
        ValueError, match="all 18 images to train on have one=1, and nothing can be learnt from that: leave"
    ):
        chosen(tmp_path, f"folder:{folder}/set", task="numbers")
    chosen(tmp_path, f"folder:{folder}/set", task="labels")
    assert warnings(caplog)[0] == "1 of 2 labels are the same for all 18 images to train on: one"


# ---- splits


def test_a_share_of_every_class(folder):
    for seed in range(2):
        found = chosen(folder, label_columns="kind", validation_share=0.3, split_seed=seed)
        assert np.bincount(found.validation.labels).tolist() == [2, 2, 2]  # of 7, 7 and 6
        assert len(everything(found)) == COUNT
    again = chosen(folder, label_columns="kind", validation_share=0.3, split_seed=1)
    other = chosen(folder, label_columns="kind", validation_share=0.3)
    assert names(again.validation) == names(found.validation) != names(other.validation)


def test_folds_are_apart_and_cover_all(folder):
    found = [chosen(folder, label_columns="kind", folds=4, fold=fold) for fold in range(4)]
    assert sorted(name for one in found for name in names(one.validation)) == sorted(NAMES)
    for one in found:
        assert one.validation.num_images == 5 and len(everything(one)) == COUNT
        assert np.ptp(np.bincount(one.validation.labels, minlength=3)) <= 1


@pytest.mark.parametrize(
    ("settings", "trained", "tested"),
    [
        ({"split_column": "part"}, [0, 2, 3], [1]),  # val is tested on, test is kept
        ({"split_column": "part", "validation_values": "test"}, [0, 1, 2, 3], [4]),
        ({"split_column": "part", "validation_values": "val, test"}, [0, 2, 3], [1, 4]),
        ({"split_column": "fold", "validation_values": "3"}, [0, 1, 2, 4], [3]),
    ],
)
def test_a_column_says_what_is_tested_on(folder, settings, trained, tested, caplog):
    found = chosen(folder, label_columns="kind", **settings)
    for source, places in ((found.train, trained), (found.validation, tested)):
        assert names(source) == sorted(row[0] for row in ROWS if row[7] in places)
    left_out = COUNT - found.train.num_images - found.validation.num_images
    told = [f"{left_out} of 20 images are left out by column 'part'"] if left_out else []
    assert warnings(caplog) == told


def test_groups_stay_together(folder):
    of_patient = {row[0]: row[5] for row in ROWS}
    for settings in ({}, {"validation_share": 0.4}, {"folds": 3, "fold": 1}, {"folds": 5, "split_seed": 3}):
        found = chosen(folder, label_columns="age", task="numbers", group_column="patient", **settings)
        sides = [{of_patient[name] for name in names(source)} for source in (found.train, found.validation)]
        assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 5 and all(sides)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"split_column": "fold"},
            "column 'fold' says '0', '1', .*, and not only train, val or test: name the values of",
        ),
        ({"split_column": "fold", "validation_values": "7"}, "no image has fold=7; .* 0, 1, 2, 3, 4"),
        ({"split_column": "parts"}, "has no column 'parts'; did you mean part"),
        (
            {"split_column": "part", "group_column": "patient"},
            "column 'part' parts 4 groups, such as patient=p0: their",
        ),
        (
            {"group_column": "patient", "folds": 9},
            "the images are of 5 groups, and groups stay together: they make no 9",
        ),
        ({"folds": 21}, "20 images make no 21 folds; set fewer"),
    ],
)
def test_splits_that_cannot_be(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        chosen(folder, label_columns="kind", **settings)


def test_data_with_images_to_test_on_of_their_own(tmp_path):
    images = random_images(6, (4, 4, 1))
    arrays = {
        "images": images,
        "labels": np.arange(6) % 2,
        "validation_images": images[:2],
        "validation_labels": [0, 1],
    }
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(
        ValueError, match="^folds chooses images to test on, and npz:.*set.npz has such of its own: leave"
    ):
        chosen(tmp_path, f"npz:{tmp_path}/set.npz", labels=None, folds=3)


# ---- rare classes


def test_sampling_repeats_the_images_of_rare_classes(folder, caplog):
    caplog.set_level(logging.INFO, "keras_mae")
    found = chosen(folder, labels=str(folder / "labels.csv"), label_columns="b", balance="sampling")
    counts = np.bincount(found.train.labels)
    assert counts[0] == counts[1] and found.train.class_weights is None
    assert caplog.messages[-1] == f"balance=sampling: an epoch has {2 * counts[0]} images, of 17 that are there"
    assert found.validation.num_images == 3  # each once
    with pytest.raises(ValueError, match="balance is for task=classes, and the task is labels"):
        from keras_mae.trainers.checks import check_together

        check_together(replaced(ProbeConfig(), task="labels", balance="sampling"))


def test_weights_of_classes(folder):
    found = chosen(folder, label_columns="b", balance="weights")
    weights = found.train.class_weights[found.train.labels]
    sums = [weights[found.train.labels == label].sum() for label in (0, 1)]
    assert np.isclose(weights.mean(), 1) and np.isclose(*sums) and found.validation.class_weights is None

"""Predictions of a classifier: rows, names, labels by name, depth, corrupt images, outputs that are whole."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, evaluation_dataset, open_source
from keras_mae.export.served_classifier import ServedClassifier
from keras_mae.models import ImageClassifier
from keras_mae.trainers import predict as program
from keras_mae.trainers.class_labels import ClassLabels
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.predict import predict
from keras_mae.trainers.prediction_files import PredictionFiles
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.trained_model import TrainedModel, find_model
from tests.base import fill_randomly, small_encoder
from tests.drawn import as_image, drawn, encoded, write
from tests.trainers.test_trained_model import write_run

CROP = 0.8
NAMES = ["bird", "cat, tabby", 'dog "Rex"']  # as the folder of the run had them


def write_classifier(folder, names=NAMES, classes=3, dtype="uint8", channels=1, data="folder:/data/x-rays"):
    """The folder of a run whose classifier has random weights that tell images apart."""
    seen = {"dtype": dtype, "class_names": list(names), "num_images": 9, "digest": "a:b"}
    path = write_run(folder, replaced(FinetuneConfig(), crop_ratio=CROP), seen, data=data)
    classifier = fill_randomly(ImageClassifier(small_encoder((8, 12, channels)), classes))
    classifier.head.kernel.assign(20 * classifier.head.kernel)
    logits = classifier(np.stack([drawn(8, 12, channels, seed=number) for number in range(40, 60)]))
    classifier.head.bias.assign_sub(np.mean(logits, axis=0))  # so that all classes are predicted
    classifier.save(path / "model.keras")
    return str(path)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("classifier") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of two of the run's classes and one that it does not know, of 16 bits, in which one file is corrupt."""
    root = tmp_path_factory.mktemp("pictures")
    for place, name in enumerate(['dog "Rex"', "cat, tabby", "ant"]):
        for number in range(35):
            picture = 251 * drawn(9 + number % 4, 13, 1, seed=100 * place + number).astype("uint16") + number
            write(str(root / name / f"{number}.png"), encoded(as_image(picture), "PNG"))
    write(str(root / "ant" / "0.png"), b"no image")
    shutil.move(root / "cat, tabby" / "1.png", os.fsencode(root) + b"/cat, tabby/caf\xe9,\n.png")
    return root


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def served(run_folder, source):
    """The probabilities that the exported classifier gives the files of a source, by index."""
    trained = find_model(run_folder, "model.keras")
    model = program.load_model_file(trained.path)
    module = ServedClassifier(model, None, trained.crop_ratio, trained.seen["dtype"], trained.decoding)
    files = [tf.io.read_file(os.fsencode(path)).numpy() for path in source.paths]
    files = [file for file in files if file != b"no image"]
    return module.signature("serving_default")(image_bytes=tf.constant(files))["probabilities"].numpy()


@pytest.mark.medium
def test_rows_and_the_report_of_a_folder(run_folder, pictures, tmp_path, caplog, png_and_jpeg):
    output = str(tmp_path / "new" / "p.csv")
    results = predict(run_folder, f"folder:{pictures}", output, k=2, batch_size=40)
    source = open_source(f"folder:{pictures}")
    expected = served(run_folder, source)  # the first image is the corrupt one
    rows = rows_of(output)
    assert list(rows[0]) == ["name", "label", "predicted", "probability", "predicted_2", "probability_2"]
    assert [row["name"] for row in rows] == [source.name_inside(index) for index in range(1, 105)]
    assert "cat, tabby/caf\\xe9,\\n.png" in [row["name"] for row in rows]
    assert [row["label"] for row in rows] == [source.class_names[label] for label in source.labels[1:]]
    order = np.argsort(-expected, axis=1)
    for n, suffix in enumerate(["", "_2"]):
        assert [row[f"predicted{suffix}"] for row in rows] == [NAMES[k] for k in order[:, n]]
        found = [float(row[f"probability{suffix}"]) for row in rows]
        np.testing.assert_allclose(found, np.take_along_axis(expected, order, 1)[:, n], atol=1e-5)
    assert len(set(order[:, 0])) > 1  # or nothing would be told by the order

    by_name = {name: k for k, name in enumerate(NAMES)}
    known = [(by_name[row["label"]], k) for row, k in zip(rows, order[:, 0]) if row["label"] in by_name]
    confusions = np.zeros((3, 3), int)
    np.add.at(confusions, tuple(np.transpose(known)), 1)
    with open(tmp_path / "new" / "p_confusions.csv", newline="") as file:
        head, *table = csv.reader(file)
    assert head == ["true class", *NAMES] and [line[0] for line in table] == NAMES
    np.testing.assert_array_equal([list(map(int, line[1:])) for line in table], confusions)
    report = json.loads((tmp_path / "new" / "p_report.json").read_text())
    assert report["top1"] == pytest.approx(np.trace(confusions) / 70, abs=1e-6)
    assert report["images"] == 70 and results["report"]["top1"] == report["top1"]
    unknown = "34 images are of a class that the run does not know (ant): predicted, and left out of the report"
    assert report["notes"] == ["classes without images, left out of the averages (1 of 3): bird", unknown]
    skipped = str(tmp_path / "new" / "p_skipped.csv")
    assert rows_of(skipped) == [{"name": "ant/0.png"}] and report["images_skipped"] == 1
    assert caplog.messages == [
        f"these images have 16 bits a channel, and those that {run_folder}/model.keras was trained on have 8: files "
        "are read in 8 bits, as an exported model reads them",
        f"skipped, cannot be decoded: {pictures}/ant/0.png",
        f"1 of 105 images were skipped because they cannot be decoded: they have no row, and are listed in {skipped}",
        unknown,
    ]
    assert results["written"] == [str(tmp_path / "new" / f"p{end}") for end in (
        ".csv", "_confusions.png", "_curves.png", "_calibration.png", "_confusions.csv", "_report.json", "_skipped.csv"
    )]  # fmt: skip
    assert sorted(os.listdir(tmp_path / "new")) == sorted(map(os.path.basename, results["written"]))


@pytest.fixture
def arrays(tmp_path):
    """Writes `npz` data, with labels or without, and returns the specification."""

    def written(labels=None, count=10, dtype="uint8", channels=1):
        images = np.stack([drawn(8, 12, channels, seed=number) for number in range(count)])
        images = images if dtype == "uint8" else images.astype("uint16") * 257
        np.savez(tmp_path / "data.npz", images=images, **({} if labels is None else {"labels": np.array(labels)}))
        return f"npz:{tmp_path / 'data.npz'}"

    return written


@pytest.mark.medium
def test_numbers_are_told_to_be_numbers(run_folder, arrays, tmp_path, caplog):
    output = str(tmp_path / "p.csv")
    results = predict(run_folder, arrays([0, 1, 2, 2, 1, 0, 7, 7, 8, 1]), output, batch_size=3)
    assert [row["label"] for row in rows_of(output)] == [
        *(NAMES[k] for k in (0, 1, 2, 2, 1, 0)),
        "7",
        "7",
        "8",
        NAMES[1],
    ]
    numbers, unknown = results["report"]["notes"][-2:]
    assert numbers.startswith("the labels of these images are numbers without names: they are taken as those of the ")
    assert numbers.endswith("run's classes, 0 is bird, 1 is cat, tabby, ...")
    assert unknown.startswith("3 images are of 2 classes that the run does not know (7, 8): predicted, and left out")
    assert results["report"]["images"] == 7 and caplog.messages[0] == numbers


@pytest.mark.medium
def test_without_labels_there_is_no_report(run_folder, arrays, tmp_path, caplog):
    output = str(tmp_path / "p.csv")
    predict(run_folder, arrays([0] * 10), output)
    assert os.path.exists(tmp_path / "p_report.json")
    results = predict(run_folder, arrays(), output, overwrite=True)  # an earlier report would be of other images
    assert results["report"] is None and results["written"] == [output] and not caplog.messages[1:]
    assert "label" not in rows_of(output)[0] and len(rows_of(output)) == 10


@pytest.mark.parametrize(("names", "trained", "cause"), [
    (NAMES, TrainedModel("x.keras", "x", seen={"class_names": NAMES}), ""),
    (["0", "1"], TrainedModel("x.keras", "x"), ", which its data do not name: their names are numbers"),
    (["0", "1"], TrainedModel("x.keras"), ": the model lies in no run's folder, so its classes are numbers"),
])  # fmt: skip
def test_folders_that_are_no_classes(names, trained, cause):
    """Folders of patients, for instance, whose numbers are none of the run's classes."""
    source = ArraySource(np.zeros((2, 8, 12, 1), "uint8"), np.array([0, 1]), class_names=["a", "b"])
    labels = ClassLabels(source, names, trained)
    assert labels.before() == [
        f"no class of these images (a, b) is one of the run's ({', '.join(names)}){cause}; there is no report"
    ]
    assert [labels.of(label) for label in (0, 1, -1)] == [-1] * 3 and labels.after() == []
    assert [labels.shown(label) for label in (0, 1, -1)] == ["a", "b", ""]


def test_folders_that_are_called_by_the_numbers_of_classes():
    source = ArraySource(np.zeros((2, 8, 12, 1), "uint8"), np.array([0, 1]), class_names=["2", "0"])
    labels = ClassLabels(source, ["0", "1", "2"], TrainedModel("x.keras", "x"))
    assert [labels.of(label) for label in (0, 1)] == [2, 0] and not labels.before()


@pytest.mark.slow
def test_too_many_corrupt_images(run_folder, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "d")
    write(str(tmp_path / "d" / "ant" / "1.png"), b"neither")
    write(str(tmp_path / "p.csv"), b"of before")
    with pytest.raises(ValueError, match="2 of 105 images cannot be decoded, more than the tolerated 1 %"):
        predict(run_folder, f"folder:{tmp_path / 'd'}", str(tmp_path / "p.csv"), overwrite=True, batch_size=40)
    assert sorted(os.listdir(tmp_path)) == ["d", "p.csv"] and (tmp_path / "p.csv").read_bytes() == b"of before"


@pytest.mark.slow
@pytest.mark.parametrize(("of_run", "of_files", "said"), [
    ("uint8", 16, "have 16 bits a channel, and those that {} was trained on have 8: files are read in 8 bits, as an "),
    ("uint16", 8, "have 8 bits a channel, and those that {} was trained on have 16: files are read in 16 bits, as an "),
    ("uint16", 16, None),
])  # fmt: skip
def test_files_are_read_in_the_depth_of_the_run(tmp_path, caplog, png_and_jpeg, of_run, of_files, said):
    run_folder = write_classifier(tmp_path / "run", dtype=of_run)
    for number in range(3):
        picture = drawn(9 + number, 13, 1, seed=number)
        picture = picture if of_files == 8 else picture.astype("uint16") * 16 + number
        write(str(tmp_path / "d" / f"{number}.png"), encoded(as_image(picture), "PNG"))
    predict(run_folder, f"folder:{tmp_path / 'd'}", str(tmp_path / "p.csv"))
    expected = served(run_folder, open_source(f"folder:{tmp_path / 'd'}")).max(axis=1)
    found = [float(row["probability"]) for row in rows_of(tmp_path / "p.csv")]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [said.format(f"{run_folder}/model.keras") in line for line in caplog.messages] == [True] if said else True
    assert bool(caplog.messages) == bool(said)


@pytest.mark.medium
def test_many_channels_of_16_bits(tmp_path, arrays, caplog):
    run_folder = write_classifier(tmp_path / "run", names=[], dtype="uint16", channels=5)
    data = arrays([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], dtype="uint16", channels=5)
    results = predict(run_folder, data, str(tmp_path / "p.csv"))
    model = program.load_model_file(f"{run_folder}/model.keras")
    (images,) = evaluation_dataset(open_source(data), (8, 12, 5), 10, CROP)
    expected = tf.nn.softmax(model(images)).numpy()
    assert [row["predicted"] for row in rows_of(tmp_path / "p.csv")] == [str(k) for k in expected.argmax(axis=1)]
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows_of(tmp_path / "p.csv")], expected.max(axis=1), atol=1e-5
    )
    assert results["report"]["images"] == 10 and not caplog.messages
    with pytest.raises(ValueError, match="the images have 1 channel, and the model takes 5: give images with 5"):
        predict(run_folder, arrays(), str(tmp_path / "q.csv"))


@pytest.mark.medium
def test_what_is_refused(run_folder, arrays, tmp_path):
    data = arrays()
    with pytest.raises(ValueError, match="encoder.keras holds ViTEncoder, and predictions need an ImageClassifier"):
        small_encoder((8, 12, 1)).save(tmp_path / "encoder.keras")
        predict(str(tmp_path / "encoder.keras"), data, str(tmp_path / "p.csv"))
    broken = write_classifier(tmp_path / "broken")
    model = program.load_model_file(f"{broken}/model.keras")
    model.head.bias.assign([np.nan, 0, 0])
    model.save(f"{broken}/model.keras")
    with pytest.raises(ValueError, match=r"the model's answers to npz:.*\[0\], and to 9 more images beside it, are"):
        predict(broken, data, str(tmp_path / "p.csv"))
    twice = write_classifier(tmp_path / "twice", names=["2", "5"])
    with pytest.raises(ValueError, match="name 2 classes, the model has 3, and numbers in place of the missing names"):
        predict(twice, data, str(tmp_path / "p.csv"))
    assert not [name for name in os.listdir(tmp_path) if "p.csv" in name or "predict" in name]


@pytest.mark.medium
@pytest.mark.parametrize(("split", "told"), [(None, ", or most of them"), ("train", ""), ("validation", None)])
def test_images_of_the_training_are_told(caplog, split, told):
    config = replaced(FinetuneConfig(), validation_data="npz:other.npz")
    for config, other in ((FinetuneConfig(), "--split=validation"), (config, "--data=npz:other.npz")):
        caplog.clear()
        program.say_if_seen(TrainedModel("x.keras", "x", config, "digits"), "digits", split)
        program.say_if_seen(TrainedModel("x.keras", "x", config, "digits"), "npz:x.npz", split)
        assert caplog.messages == ([] if told is None else [
            f"the model was trained on these images{told}: how well it does on them says little about others; it "
            f"was tested on {other}"
        ])  # fmt: skip


def test_a_tenth_that_was_trained_on_is_told(arrays, caplog):
    """With images to test on elsewhere, a run trains on all of its data: there is no tenth apart."""
    data = arrays()
    config = replaced(FinetuneConfig(), validation_data="npz:other.npz")
    program.say_if_seen(TrainedModel("x.keras", "x", config, data), data, "validation")
    assert caplog.messages[0].endswith("it was tested on --data=npz:other.npz")


def test_output_files(tmp_path):
    for name, message in (
        ("predictions", "is not the name of a CSV file; type --output=.*predictions.csv"),
        ("", "is not the name of a CSV file; type --output=.*predictions.csv"),
        ("run.keras", "type --output=.*run.keras.csv"),
    ):
        with pytest.raises(ValueError, match=message):
            PredictionFiles(str(tmp_path / name))
    files = PredictionFiles(str(tmp_path / "p.csv"))
    with files.written(False) as aside:
        write(aside.predictions, b"new")
        write(aside.report, b"new")
        assert os.listdir(tmp_path) == [os.path.basename(os.path.dirname(aside.predictions))]
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "p_report.json"]
    with pytest.raises(ValueError, match=r"p.csv is there already: name another --output, or replace it with --overw"):
        files.check(False)
    with pytest.raises(RuntimeError), files.written(True) as aside:
        write(aside.predictions, b"newer")
        raise RuntimeError
    assert (tmp_path / "p.csv").read_bytes() == b"new"
    with files.written(True) as aside:
        write(aside.predictions, b"newer")
    assert os.listdir(tmp_path) == ["p.csv"] and (tmp_path / "p.csv").read_bytes() == b"newer"

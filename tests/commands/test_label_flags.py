"""`--labels`, `--label_columns` and the split, as a user types them: refusals in one line, and a run with a table."""

import json

import numpy as np
import pytest

from keras_mae import cli
from tests.trainers.labelled import drawn_images, write_everything
from tests.typed import refused


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """An encoder, images without labels, and a table of their classes, one of which is rare, and patients."""
    folder = tmp_path_factory.mktemp("given")
    paths = write_everything(folder)
    images, labels = drawn_images(60, 0)
    kept = (labels != 0) | (np.arange(60) % 3 == 0)
    np.savez(folder / "images.npz", images=images[kept])
    rows = [f"{n},stripe {label},p{n // 4}" for n, label in enumerate(labels[kept])]
    (folder / "labels.csv").write_text("\n".join(["image,kind,patient", *rows]))
    return {"run": paths["run"], "data": f"npz:{folder / 'images.npz'}", "labels": str(folder / "labels.csv")}


def typed(given, output, *settings):
    return [*(f"--{name}={value}" for name, value in given.items()), f"--output={output}",
            *(f"--set={setting}" for setting in settings)]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task=regression"], "no data.task is called 'regression'; "),
        (
            ["task=numbers", "labels_per_class=3"],
            "labels_per_class is for task=classes, and the task is numbers: leave",
        ),
        (["task=labels", "num_classes=3"], "num_classes is for task=classes"),
        (["task=labels", "balance=weights"], "balance is for task=classes"),
        (["label_columns=a,b"], "task=classes has one column of labels, got a, b: name one, or type --set task=labels"),
        (["task=numbers", "label_columns=a,a"], "column 'a' is named twice"),
        (["task=numbers", "label_columns=kind", "group_column=kind"], "column 'kind' is named twice"),
        (["labels=/no/such.csv"], "--labels=/no/such.csv: there is no such file"),
        (["labels=table.xlsx"], "labels is a CSV or Parquet file (.csv, .tsv, .txt, .parquet, .pq), got table.xlsx"),
        (["folds=5", "validation_share=0.2"], "validation_share and folds both choose the images to test on: give one"),
        (["folds=5", "fold=5"], "fold is one of folds, counted from 0, got fold=5: there are 5"),
        (["fold=1"], "got fold=1: name how many there are, --set folds=5"),
        (["validation_share=1.0"], "data.validation_share lies in (0, 1)"),
        (["validation_values=3"], "validation_values are values of a column: name it with --set split_column=..."),
        (["split_column=a", "split_seed=3"], "split_seed is of a choice by chance, and split_column chooses"),
        (
            ["validation_data=digits", "folds=3"],
            "folds chooses images to test on from --data, and validation_data names",
        ),
        (["split_colum=a"], "there is no setting 'split_colum'; did you mean split_column"),
        (["balance=none"], "no data.balance is called 'none'; "),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(capfd, tmp_path, settings, message):
    needed = ["--run=x.keras", "--data=digits", f"--output={tmp_path / 'run'}"]
    assert message in refused(capfd, "linear-probe", *needed, *(f"--set={setting}" for setting in settings))
    assert not (tmp_path / "run").exists()


def test_a_table_is_needed_for_its_columns(capfd, tmp_path):
    needed = ["--run=x.keras", "--data=digits", f"--output={tmp_path / 'run'}"]
    line = refused(capfd, "knn", *needed, "--set=image_column=file")
    assert "image_column is for a table of labels, which is not given: name it with --labels" in line
    line = refused(capfd, "knn", *needed, "--label_columns=age,size")
    assert "task=classes has one column of labels, got age, size" in line


@pytest.mark.slow  # its short forms: test_numbers_as_a_user_types_them, test_a_changed_table_is_changed_data
def test_a_probe_with_a_table(given, tmp_path, capfd):
    """Patients stay together, rare classes weigh more; a changed table is refused when the run is resumed."""
    settings = ["epochs=2", "warmup_epochs=1", "batch_size=16", "jit_compile=False", "crop_ratio=1.0", "pooling=mean",
                "crop_scale=None", "flip=False", "group_column=patient", "validation_share=0.25",
                "balance=weights"]  # fmt: skip
    arguments = typed({**given, "label_columns": "kind"}, tmp_path / "run", *settings)
    assert cli.main(["linear-probe", "--recipe=probe_digits", *arguments]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["seen"]["class_names"] == [f"stripe {number}" for number in range(6)]
    assert record["config"]["data"]["labels"] == given["labels"] and record["config"]["data"]["balance"] == "weights"
    total = results["train_images"] + results["validation_images"]
    assert total == 52 and abs(results["validation_images"] - 0.25 * total) <= 4
    text = open(given["labels"]).read()
    with open(given["labels"], "w") as file:
        file.write(text.replace("0,stripe", "0,other", 1))
    line = refused(capfd, "linear-probe", "--recipe=probe_digits", *arguments, "--resume")
    assert "the data of the run in " in line and "have changed, and it cannot be resumed" in line

"""The page as text: what it holds, and that nothing in a run is HTML."""

import json
import os
import re

import pytest

from keras_mae.run_report import write_report
from tests.read_html import Read
from tests.run_report.folders import epoch, write, write_picture, write_run

NASTY = "<script>alert(1)</script>\"'&\n$x ${y} \udcff"
HEADS = {"program": "finetune", "top1": 0.9, "loss": 0.5, "best": {"epoch": 2, "top1": 0.95, "loss": 0.4}}


def read(path, *more, output=None):
    page, *rest = write_report([path, *more], output)
    with open(page, encoding="utf-8") as file:
        text = file.read()
    return Read(text), text, rest


def texts(read):
    return " ".join(" ".join(read.texts).split())


def test_a_run_of_every_sort_of_file(tmp_path):
    every = [epoch(1, knn=0.5), epoch(2, knn=0.75)]
    steps = [{"step": number, "loss": 1.0, "gradient_norm": 1.0} for number in range(1, 21)]
    steps[4]["skipped"] = "spike"
    path = write_run(
        tmp_path / "run", every, settings=("mask_ratio=0.6",), steps=steps,
        init={"source": "mae_vit_base", "licence": "cc-by-nc-4.0"},
        corrupt=[{"summary": "1 of 40 images were skipped", "names": ["7.png"]}],
        machine=[{"processor": "Abacus 9", "cores": 2, "memory": 8e9, "gpus": ["Brush"] * 2}, {"processor": "Other"}],
    )  # fmt: skip
    write_picture(os.path.join(path, "reconstructions", "epoch_0002.png"))
    page, text, (curve,) = read(path)
    assert sorted(os.listdir(path)) == sorted(
        [
            "config.json",
            "log.jsonl",
            "loss.png",
            "model.keras",
            "reconstructions",
            "report.html",
            "seen.gz",
            "steps.jsonl",
        ]
    )
    said = texts(page)
    for expected in (
        "keras-mae pretrain of digits; last written", "finished, 2 of 42 epochs", "best kNN 75.0 % (epoch 2)",
        "loss in the last epoch 0.5", "steps skipped, spike 1", "What differs from mae_digits, the nearest recipe:",
        "mask_ratio 0.6 0.75", "images to train on 40", "1 of 40 images were skipped: 7.png", "cat 30 dog 10",
        "first weights mae_vit_base", "licence of these cc-by-nc-4.0",
        "machine Abacus 9, 2 cores, 8 GB of memory, 2 x Brush", "machine after a resume Other",
        "versions keras_mae 0.1.0, TensorFlow 2.21.0", f"keras-mae knn --run={path} --data=digits",
        "Masked images and their reconstructions, epoch 2",
    ):  # fmt: skip
        assert expected in said, expected
    assert curve == os.path.join(path, "loss.png")
    for data in re.findall(r'<script type="application/json">(.*?)</script>', text):
        json.loads(data)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_nothing_in_a_run_is_html(tmp_path):
    name = NASTY.replace("/", "")
    rows = [{"class": NASTY, "images": 3, "recall": None}]
    path = write_run(
        tmp_path / name, [epoch(1, **{NASTY: 3.0}), epoch(2, **{NASTY: 4.0})], recipe="finetune_digits", data=NASTY,
        results={**HEADS, "report": {"per_class": rows, "notes": [NASTY]}}, init={"source": NASTY, "licence": NASTY},
        steps=[{"step": 5, "skipped": NASTY}], corrupt=[{"summary": NASTY, "names": [NASTY]}],
        machine=[{"processor": NASTY, "gpus": [NASTY]}], versions=[{NASTY: NASTY}], directory=NASTY,
    )  # fmt: skip
    write_picture(os.path.join(path, "report", f"{name}.png"))
    page, text, _ = read(path)
    scripts = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert scripts.count(None) == 1 and set(scripts) == {None, "application/json"}
    assert not {"link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert text.count("alert(1)") > 10 and "<script>alert" not in text
    policy = next(attributes for _, attributes in page.tags if "http-equiv" in attributes)["content"]
    assert (
        policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-") and "script-src 'sha256-" in policy
    )


@pytest.mark.parametrize(
    ("epochs", "finished", "said"),
    [
        ([], False, "not finished: no epoch of 42 is logged yet"),
        ([epoch(1)], False, "not finished: epoch 1 of 42"),
        ([epoch(1, float("nan")), epoch(2, float("nan"))], True, "finished, 2 of 42 epochs"),
    ],
)
def test_few_epochs_or_none_or_none_that_is_finite(tmp_path, epochs, finished, said):
    path = write_run(tmp_path / "run", epochs, finished=finished)
    page, _, curve = read(path)
    assert said in texts(page) and len(curve) == bool(epochs)
    assert ("Continue the run" in texts(page)) == (not finished)


def test_a_run_of_an_earlier_version_that_lacks_most(tmp_path):
    path = write_run(tmp_path / "run", [epoch(1)])
    write(path, "config.json", json.dumps({"config": {"program": "pretrain", "encoder": {"depth": 3}}}))
    os.remove(os.path.join(path, "seen.gz"))
    said = texts(read(path)[0])
    assert (
        "cannot compare the settings with recipes: no encoder is called None; there are: vit." in said
        and "encoder.depth 3" in said
    )
    assert "did not note the machine" in said and "Continue the run" not in said


def test_a_thousand_classes_are_cut_with_a_word(tmp_path):
    rows = [{"class": f"class {number}", "images": 1, "recall": 0.5, "auc": 0.75} for number in range(1000)]
    path = write_run(tmp_path / "run", recipe="finetune_digits", results={**HEADS, "report": {"per_class": rows}})
    said = texts(read(path)[0])
    assert "class 99 1 50.0 % 0.75" in said and "class 100 " not in said and "The first 100 of 1,000 rows." in said


@pytest.mark.parametrize(
    ("recipe", "results", "expected"),
    [
        (
            "finetune_digits",
            HEADS,
            ["top-1 accuracy, last epoch 90.0 %", "top-1 accuracy, best epoch 95.0 % (epoch 2)"],
        ),
        ("finetune_digits", {"auc": None, "best": None}, ["mean AUC, last epoch –"]),
        (
            "finetune_digits",
            {
                "rmse": {"age": 3.5, "weight": 7.0},
                "mae": {"age": 2.5, "weight": 6.0},
                "r2": {"age": 0.5, "weight": None},
            },
            ["RMSE, age 3.5", "age 3.5 2.5 0.5", "weight 7 6 –"],
        ),
        (
            "segment_vit_base",
            {"mean_iou": 0.5, "per_class": [{"class": "sky", "pixels": 12000, "iou": 0.5, "accuracy": None}]},
            ["mean IoU, last epoch 50.0 %", "class pixels IoU accuracy sky 12,000 50.0 % –"],
        ),
    ],
)
def test_results_of_heads(tmp_path, recipe, results, expected):
    said = texts(read(write_run(tmp_path / "run", recipe=recipe, results=results))[0])
    assert [one for one in expected if one not in said] == []


def of_knn(path, results):
    """A run of kNN, which has no recipe and no log."""
    from keras_mae.trainers.config import to_json
    from keras_mae.trainers.knn_config import KnnConfig

    path = write_run(path, results={"program": "knn", **results}, finished=False)
    record = {"data": "digits", "config": json.loads(json.dumps(to_json(KnnConfig())))}
    write(path, "config.json", json.dumps(record))
    return path


def test_knn_has_results_by_k_and_no_curves(tmp_path):
    path = of_knn(tmp_path / "run", {"top1": {"1": 0.5, "20": 0.75}, "majority_share": 0.25})
    page, _, curve = read(path)
    said = texts(page)
    assert "top-1 accuracy, k = 20 75.0 %" in said and "k = 1 50.0 % k = 20 75.0 %" in said and curve == []
    assert "Curves" not in said and "always the largest class 25.0 %" in said and "state finished" in said
    numbers = {"rmse": {"1": {"age": 3.0}, "5": {"age": 2.0}}, "rmse_of_mean": {"age": 9.0}}
    said = texts(read(of_knn(tmp_path / "numbers", numbers))[0])
    assert "k = 1, age 3 k = 5, age 2 age 9" in said


def test_the_demo_has_its_table_and_its_reference(tmp_path):
    results = {
        "reference_loss": 0.44,
        "accuracy": {"raw pixels": {"linear_probe": 0.9, "knn": 0.8, "10_labels_per_class": 0.7}},
        "fine_tuning_10_labels_per_class": {"pretrained": 0.6},
        "seconds": {"total": 9},
    }
    said = texts(read(write_run(tmp_path / "run", [epoch(1)], results=results))[0])
    assert "raw pixels 90.0 % 80.0 % 70.0 %" in said and "loss of predicting each patch's mean 0.44" in said
    assert "fine-tuned on 10 labels a class, pretrained 60.0 %" in said


def test_the_measures_of_a_pretraining_run(tmp_path):
    every = [epoch(1, knn_auc=0.75, ridge_auc=0.9), epoch(2, knn_auc=0.5, ridge_auc=0.95)]
    best = {"epoch": 1, "knn_auc": 0.75, "loss": 1.0}
    results = {
        "program": "pretrain",
        "knn_auc": 0.5,
        "ridge_auc": 0.95,
        "loss": 0.5,
        "best": best,
        "monitor": "knn_auc",
    }
    path = write_run(tmp_path / "run", every, results=results)
    write_picture(os.path.join(path, "replay", "step_000007.png"))
    said = texts(read(path)[0])
    for expected in (
        "best kNN AUC 0.75 (epoch 1)", "best ridge AUC 0.95 (epoch 2)", "best.keras epoch 1 (by kNN AUC)",
        "kNN AUC; best 0.75, epoch 1 (ring)",
        "The best epoch epoch 1 kNN AUC 0.75 loss 1", "step 000007, computed again",
    ):  # fmt: skip
        assert expected in said, expected


def test_runs_beside_each_other(tmp_path):
    first = write_run(tmp_path / "x" / "run", [epoch(1), epoch(2)], settings=("epochs=2",))
    second = write_run(tmp_path / "y" / "run", [epoch(1, 3.0)], settings=("epochs=2", "mask_ratio=0.5"))
    page, _, rest = read(first, second, output=str(tmp_path / "new" / "both.html"))
    said = texts(page)
    assert "2 runs of pretrain" in said and "setting x/run y/run" in said and "masking.mask_ratio 0.75 0.5" in said
    assert "The losses are not of the same kind, as these settings differ: masking.mask_ratio." in said
    assert "state finished, 2 epochs finished, 1 of 2 epochs" in said and "loss in the last epoch 0.5 3" in said
    assert f"keras-mae report --run={second}" in said
    assert rest == [str(tmp_path / "new" / "both_loss.png")] and os.path.exists(rest[0])
    same = texts(read(first, first, output=str(tmp_path / "same.html"))[0])
    assert "All runs have the same settings" in same and "not of the same kind" not in same


def test_runs_that_measure_different_things_are_refused(tmp_path):
    first = write_run(tmp_path / "a", [epoch(1)])
    second = write_run(tmp_path / "b", [epoch(1)], recipe="probe_digits", results=HEADS)
    with pytest.raises(ValueError, match="measure different things.*a is one of pretrain, .*b is one of linear-probe"):
        write_report([first, second], str(tmp_path / "x.html"))
    with pytest.raises(ValueError, match="a page of several runs needs --output"):
        write_report([first, first])
    tuned = of_knn(tmp_path / "c", {"top1": {"1": 0.5}})
    said = texts(read(second, tuned, output=str(tmp_path / "heads.html"))[0])
    assert "2 runs of linear-probe and knn" in said and "The runs share no curve." in said


def test_a_page_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    path = write_run(tmp_path / "run", [epoch(1)])
    write_report([path])
    before = (tmp_path / "run" / "report.html").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report([path])
    monkeypatch.undo()
    assert (tmp_path / "run" / "report.html").read_bytes() == before
    assert not [name for name in os.listdir(path) if "writing" in name]

"""kNN: the votes against scikit-learn's, and the program."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from keras_mae import cli
from keras_mae.trainers import knn as program
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.evaluation import knn_scores
from keras_mae.trainers.knn import _matches, knn
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.nearest import neighbour_means
from keras_mae.trainers.settings import replaced
from tests.trainers.test_trained_model import write_run


def test_votes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    train_x, test_x = rng.normal(size=(130, 5)), rng.normal(size=(220, 5))  # more than two blocks of queries
    train_y = rng.integers(0, 4, 130)
    scores = knn_scores(train_x, train_y, test_x, (1, 7, 130), 4, temperature=0.2)
    for k, votes in scores.items():
        reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.2))
        expected = reference.fit(train_x, train_y).predict_proba(test_x)
        # cosines in float32 are off by 1e-7, which the temperature multiplies by five
        np.testing.assert_allclose(votes / votes.sum(axis=1, keepdims=True), expected, atol=1e-5)


def test_a_class_without_neighbours_gets_no_vote():
    scores = knn_scores(np.eye(2), np.array([0, 2]), np.array([[1.0, 0.1]]), [2], 4)[2]
    assert scores.shape == (1, 4) and (scores[0, [1, 3]] == 0).all() and scores[0, 0] > scores[0, 2] > 0


@pytest.mark.parametrize("temperature", [0.07, 1e-3])
def test_far_neighbours_count_at_any_temperature(temperature):
    """A cosine of 0.5 at a temperature of 0.001 would weigh exp(-500), which is 0, and class 0 would win."""
    scores = knn_scores(np.eye(3), np.array([0, 2, 1]), np.array([[0.6, 1, 0.8]]), [1, 3], 4, temperature)
    assert scores[1].argmax() == 2 and scores[3].argmax() == 2 and np.isfinite(scores[3]).all()


def test_only_classes_of_neighbours_are_among_the_first_five():
    """By number alone, classes 0 to 4 would be hits for whoever has one neighbour."""
    votes = knn_scores(np.eye(3), np.array([6, 1, 6]), np.array([[1.0, 0.2, 0.1]] * 3), [1, 3], 7)
    labels = np.array([6, 1, 0])
    assert _matches(votes[1], labels)[:, :5].any(axis=1).tolist() == [True, False, False]
    assert _matches(votes[3], labels)[:, :5].any(axis=1).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("ks", "temperature", "message"),
    [
        ([0], 0.07, r"k lies between 1 and the 3 images that may be neighbours; got \[0\]"),
        ([1, 4], 0.07, r"got \[1, 4\]"),
        ([], 0.07, r"got \[\]"),
        ([1], 0.0, "a temperature is positive, got 0.0"),
    ],
)
def test_bad_arguments(ks, temperature, message):
    with pytest.raises(ValueError, match=message):
        knn_scores(np.eye(3), np.arange(3), np.eye(3), ks, 3, temperature)


@pytest.mark.parametrize("given_ratio", [None, 0.5])
@pytest.mark.parametrize("name", ["", "encoder.keras", "best.keras"])
def test_the_crop_ratio_is_that_of_the_run_that_the_file_lies_in(given, tmp_path, monkeypatch, name, given_ratio):
    folder = write_run(tmp_path / "run", replaced(PretrainConfig(), crop_ratio=0.625, background=9), files=())
    for file in ("encoder.keras", "best.keras"):
        shutil.copy(given["run"], folder / file)
    seen, backgrounds = [], []

    def features(encoder, source, pooling, crop_ratio, *rest):
        seen.append(crop_ratio)
        backgrounds.append(source.decoding.background)
        return np.eye(3), np.arange(3)

    load = program.load_encoder
    monkeypatch.setattr(program, "load_encoder", lambda path: seen.append(path) or load(path))
    monkeypatch.setattr(program, "features_of", features)
    monkeypatch.setattr(program, "knn_scores", lambda *a: {1: np.eye(3)})
    config = replaced(
        KnnConfig(), run=str(folder / name), validation_data=given["validation_data"], crop_ratio=given_ratio
    )
    knn(config, given["data"])
    assert seen == [str(folder / name), given_ratio or 0.625, given_ratio or 0.625] and backgrounds == [9, 9]


@pytest.mark.medium
def test_the_program(given, tmp_path):
    config = replaced(KnnConfig(), run=given["run"], validation_data=given["validation_data"], k=(1, 3), crop_ratio=1.0)
    results = knn(config, given["data"], str(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert set(results["top1"]) == {"1", "3"} and results["top1"]["3"] > 0.4  # one class in six by chance
    assert results["top5"]["3"] >= results["top1"]["3"]
    assert (results["train_images"], results["validation_images"], results["num_classes"]) == (48, 24, 6)
    assert results["majority_share"] == round(4 / 24, 6)
    assert knn(replaced(config, pooling="cls"), given["data"])["top1"] != results["top1"]
    with pytest.raises(ValueError, match="holds another run"):
        knn(config, given["data"], str(tmp_path / "run"))
    with pytest.raises(ValueError, match="k lies between 1 and the 12 images"):
        knn(replaced(config, labels_per_class=2, k=(20,)), given["data"])
    with pytest.raises(ValueError, match="kNN measures an encoder: name one with --run"):
        knn(replaced(config, run=None), given["data"])


def test_means_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    train_x, test_x = rng.normal(size=(130, 5)), rng.normal(size=(220, 5))  # more than two blocks of queries
    train_y = rng.normal(1e4, 3, (130, 2)).astype("float32")
    for k, found in neighbour_means(train_x, train_y, test_x, (1, 7, 130), temperature=0.2).items():
        reference = KNeighborsRegressor(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.2))
        # cosines in float32 are off by 1e-7, which the temperature multiplies by five
        np.testing.assert_allclose(found, reference.fit(train_x, train_y).predict(test_x), atol=1e-4)
    shares = neighbour_means(np.eye(3), np.array([[1, 0], [0, 1], [1, 1]]), np.array([[1.0, 0.2, 0.1]]), [3], 1e-3)[3]
    np.testing.assert_allclose(shares, [[1, 0]], atol=1e-12)  # the nearest alone


@pytest.fixture(scope="module")
def beside(given, tmp_path_factory):
    """The images of `given` with a table: whether the stripe is far left or wide of the middle, and its place."""
    folder = tmp_path_factory.mktemp("beside")
    for name in ("train", "test"):
        arrays = dict(np.load(f"{given['run'].rpartition('/')[0]}/{name}.npz"))
        places = arrays["labels"]
        np.savez(folder / f"{name}.npz", images=arrays["images"])
        rows = [f"{n},{int(place < 2)},{int(place % 5 > 0)},{place / 4}" for n, place in enumerate(places)]
        (folder / f"{name}.csv").write_text("\n".join(["image,left,off,place", *rows]))
    data = {"validation_data": f"npz:{folder}/test.npz", "validation_labels": f"{folder}/test.csv"}
    return f"npz:{folder}/train.npz", {"run": given["run"], "labels": f"{folder}/train.csv", "crop_ratio": 1.0, **data}


@pytest.mark.medium
def test_several_labels(beside, tmp_path, monkeypatch):
    data, settings = beside
    config = replaced(KnnConfig(), **settings, task="labels", label_columns="left,off", k=(1, 5))
    asked = []
    monkeypatch.setattr(program, "neighbour_means", lambda *a: asked.append((a, neighbour_means(*a))) or asked[0][1])
    results = knn(config, data, str(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    arguments, shares = asked[0]
    labels = np.loadtxt(settings["validation_labels"], delimiter=",", skiprows=1)[:, 1:3]
    for k in (1, 5):
        areas = roc_auc_score(labels, shares[k], average=None)
        assert results["auc"][str(k)] == pytest.approx(areas.mean(), abs=1e-6)
        assert [one["auc"][str(k)] for one in results["per_label"].values()] == pytest.approx(list(areas), abs=1e-6)
        precision = average_precision_score(labels, shares[k])
        assert results["average_precision"][str(k)] == pytest.approx(precision, abs=1e-6)
    assert results["auc"]["5"] > 0.7 and list(results["per_label"]) == ["left", "off"]
    assert results["task"] == "labels" and results["per_label"]["left"]["positives"] == labels[:, 0].sum()
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["config"]["data"]["label_columns"] == "left,off" and record["seen"]["label_names"] == ["left", "off"]


@pytest.mark.medium
def test_numbers_as_a_user_types_them(beside, tmp_path, capsys):
    data, settings = beside
    typed = [f"--{name}={settings[name]}" for name in ("run", "labels", "validation_data")]
    typed += [f"--data={data}", "--label_columns=place", f"--output={tmp_path / 'run'}"]
    settings = {"task": "numbers", "validation_labels": settings["validation_labels"], "crop_ratio": 1.0, "k": "(1,3)"}
    assert cli.main(["knn", *typed, *(f"--set={name}={value}" for name, value in settings.items())]) == 0
    first, second, wrote = capsys.readouterr().out.splitlines()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    place = {key: results[key]["3"]["place"] for key in ("rmse", "mae", "r2")}
    assert (
        place["rmse"] < results["rmse_of_mean"]["place"] and 0 < place["mae"] < place["rmse"] and 0.3 < place["r2"] < 1
    )
    assert second == (
        f"k =   3: place RMSE {place['rmse']:.4g} (the mean: {results['rmse_of_mean']['place']:.4g}), MAE "
        f"{place['mae']:.4g}, R^2 {place['r2']:.4f}; 24 images"
    )
    assert first.startswith("k =   1: place RMSE ") and wrote.startswith("wrote ")

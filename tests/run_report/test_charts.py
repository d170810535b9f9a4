"""Which curves there are, where their points lie, and what is marked."""

import math
import re

import numpy as np
import pytest

from keras_mae.run_report import charts, svg
from keras_mae.run_report.chart_view import view
from keras_mae.run_report.record import RunRecord
from tests.run_report.folders import epoch, write_run


def charts_of(path, *more):
    runs = [RunRecord(one) for one in (path, *more)]
    return {chart.title: chart for chart in charts.charts_of(runs, [one.name for one in runs])}


def test_the_curves_of_a_pretraining_run_in_order(tmp_path):
    every = [
        epoch(number, gradient_norm=1.0, largest_gradient_norm=2.0, memory=1e9, waiting_for_data=0.1)
        | ({"knn": 0.5 + number / 10, "ridge": 0.9 - number / 10, "rankme": 9.0, "evaluation_seconds": 1.0}
           if number % 2 else {})
        for number in (1, 2, 3)
    ]  # fmt: skip
    found = charts_of(write_run(tmp_path / "run", every, reference={"loss": 0.9, "prediction": "each patch's mean"}))
    assert list(found) == [
        "Loss", "Quality of the features", "RankMe", "Gradient norm", "Learning rate", "Images a second",
        "Memory used at most", "Time that steps waited for data", "Seconds of the evaluation",
    ]  # fmt: skip
    assert found["Loss"].reference == (0.9, "each patch's mean") and found["Loss"].series[0].y == [1, 1 / 2, 1 / 3]
    knn, ridge = found["Quality of the features"].series
    assert (knn.label, knn.x, knn.best, ridge.best) == ("kNN", [1, 3], 1, 0)
    assert [one.label for one in found["Gradient norm"].series] == ["median gradient norm", "largest gradient norm"]


def test_a_head_has_its_measures_of_images_to_train_and_to_test_on(tmp_path):
    every = [epoch(n, accuracy=0.9, val_accuracy=a, val_loss=b, val_auc=a) for n, a, b in ((1, 0.5, 2), (2, 0.4, 1))]
    found = charts_of(write_run(tmp_path / "run", every, recipe="finetune_digits"))
    assert [one.label for one in found["Loss"].series] == ["loss, training", "loss, test"]
    assert [one.best for one in found["Loss"].series] == [None, 1]
    assert [one.label for one in found["Accuracy"].series] == ["accuracy, training", "accuracy, test"]
    assert [one.best for one in found["Accuracy"].series] == [None, 0] and found["AUC"].series[0].best == 0


def test_an_unknown_number_has_a_chart_and_one_that_is_never_finite_has_none(tmp_path):
    every = [epoch(1, new_measure=3, broken=None), epoch(2, new_measure=4, broken=math.nan)]
    found = charts_of(write_run(tmp_path / "run", every))
    assert found["New measure"].series[0].y == [3, 4] and "Broken" not in found and "Step" not in found


def test_without_an_epoch_the_steps_are_drawn(tmp_path):
    steps = [{"step": 1, "loss": 2.0, "gradient_norm": 1.0}, {"step": 2, "loss": 1.0, "gradient_norm": 3.0}]
    found = charts_of(write_run(tmp_path / "run", steps=steps, finished=False))
    assert list(found) == ["Loss", "Gradient norm"] and not found["Loss"].series
    np.testing.assert_array_equal(found["Loss"].bands[0].x, [1, 2])  # of one step an epoch
    assert "no epoch is logged yet" in view(found["Loss"])
    assert charts_of(write_run(tmp_path / "unknown", steps=steps, seen={})) == {}  # how long an epoch is


def test_a_loss_that_was_never_finite_is_said(tmp_path):
    found = charts_of(write_run(tmp_path / "run", [epoch(1, math.nan), epoch(2, math.nan)]))
    text = view(found["Loss"])
    assert "epoch 2: loss not finite" in text and "Loss: no finite number" in text and "NaN" not in text


def test_steps_are_marked_at_their_place(tmp_path):
    steps = [{"step": number, "loss": 1.0, "gradient_norm": 1.0} for number in range(1, 21)]
    steps[4]["skipped"] = "spike"
    found = charts_of(write_run(tmp_path / "run", [epoch(1), epoch(2)], steps=steps))
    assert found["Loss"].marks == [(0.5, "step 5: skipped, spike")] == found["Gradient norm"].marks
    np.testing.assert_allclose(found["Loss"].bands[0].x, np.arange(1, 21) / 10)
    assert "each step" in view(found["Loss"])
    many = [{"step": number, "skipped": "not finite"} for number in range(1, 1001)]
    for step in many:
        step["loss"] = 1.0
    found = charts_of(write_run(tmp_path / "many", [epoch(100)], steps=many))["Loss"]
    assert "smallest to largest of the steps" in view(found)
    marks = found.marks
    assert len(marks) == 150 and marks[0][1] == "7 steps, 1 to 7"


def test_runs_beside_each_other_share_the_curves_that_both_have(tmp_path):
    first = write_run(tmp_path / "a", [epoch(1, knn=0.5), epoch(2, knn=0.6)])
    second = write_run(tmp_path / "b", [epoch(1), epoch(2), epoch(3)])
    found = charts_of(first, second)
    assert "Quality of the features" not in found
    assert [(one.label, one.colour, one.dash, len(one.x)) for one in found["Loss"].series] == [
        ("a", 0, 0, 2), ("b", 1, 1, 3)
    ]  # fmt: skip
    probe = write_run(tmp_path / "c", [epoch(1, val_accuracy=0.5), epoch(2, val_accuracy=0.6)], recipe="probe_digits")
    tuned = write_run(tmp_path / "d", [epoch(1, val_accuracy=0.7)], recipe="finetune_digits")
    assert "Loss" not in charts_of(probe, tuned) and "Accuracy" in charts_of(probe, tuned)


def chart(y, kind="plain", **more):
    return charts.Chart("Title", kind, [charts.Series("line", "loss", list(range(1, len(y) + 1)), y, 0, 0)], **more)


def points(text):
    """The places that the line of a chart goes through, in pieces."""
    (path,) = re.findall(r'class="line c0 d0" d="([^"]*)"', text)
    return [[tuple(map(float, one.split())) for one in piece.split("L")] for piece in path.split("M")[1:]]


def test_points_lie_where_the_numbers_say():
    """A line through the corners of the axes, worked by hand: 6 % of room above and below."""
    (piece,) = points(svg.picture(chart([1.0, 2.0, 3.0]), False, False, ""))
    left, right = svg.LEFT, svg.WIDTH - svg.RIGHT
    height = svg.HEIGHT - svg.TOP - svg.BOTTOM
    bottom = svg.HEIGHT - svg.BOTTOM - 0.12 / 2.24 * height
    top = svg.TOP + 0.12 / 2.24 * height
    expected = [(left, bottom), ((left + right) / 2, (top + bottom) / 2), (right, top)]
    np.testing.assert_allclose(piece, expected, atol=0.051)  # places have one decimal


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    (piece,) = points(svg.picture(chart([1.0, 10.0, 100.0]), True, False, ""))
    first, second, third = (y for _, y in piece)
    assert first - second == pytest.approx(second - third, abs=0.11) and first > second


def test_there_are_gaps_where_a_number_is_not_finite():
    pieces = points(svg.picture(chart([1.0, math.nan, 2.0, 3.0, math.nan]), False, False, ""))
    assert [len(set(piece)) for piece in pieces] == [1, 2]
    assert points(svg.picture(chart([math.nan]), False, False, "")) == []


@pytest.mark.parametrize("y", [[5.0], [0.0, 0.0], [-3.0, -3.0], [1e-30, 1e30], [math.nan]])
def test_any_numbers_have_axes(y):
    text = view(chart(y))
    assert "NaN" not in text and "nan" not in text and "inf" not in re.sub(r"</?\w+|information", "", text)


def test_a_long_line_keeps_its_extremes_and_gaps():
    y = np.sin(np.arange(20000.0) / 500)
    y[777], y[12345], y[6000] = 5.0, -5.0, math.nan
    x, kept = svg.thinned(chart(y.tolist()).series[0])
    assert len(kept) < 1300 and x[0] == 1 and x[-1] == 20000 and {5.0, -5.0} <= set(kept) and np.isnan(kept).sum() == 1


@pytest.mark.parametrize(
    ("y", "kind", "expected"),
    [
        ([1.0, 2.0], "plain", (False, False)),
        ([1.0, 5.0], "plain", (True, False)),
        ([1.0, 1.0, 500.0], "plain", (True, True)),
        ([0.0, 500.0], "plain", (False, False)),
        ([0.01, 1.0], "share", (False, False)),
    ],
)
def test_when_a_logarithmic_scale_is_of_use(y, kind, expected):
    assert svg.scales(chart(y, kind)) == expected

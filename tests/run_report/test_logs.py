"""What is read of logs: whole lines, finite numbers, and no extreme lost."""

import math

import numpy as np

from keras_mae.run_report import logs
from tests.run_report.folders import epoch, lines


def written(tmp_path, text):
    path = tmp_path / "log.jsonl"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_torn_lines_and_what_is_no_record_are_left_out(tmp_path):
    text = lines([epoch(1), epoch(2)]) + '[1]\n{"loss": 1}\n{"epoch": true}\n{"epoch": 3, "lo'
    assert [one["epoch"] for one in logs.epochs_of(written(tmp_path, text))] == [1, 2]
    assert logs.epochs_of(str(tmp_path / "none")) == [] and logs.steps_of(str(tmp_path / "none")) is None


def test_an_epoch_that_was_trained_again_has_its_last_line_and_what_is_not_finite_is_nan(tmp_path):
    text = '{"epoch": 2, "loss": null}\n{"epoch": 1, "loss": NaN, "name": "x"}\n{"epoch": 2, "loss": 0.5}\n'
    first, second = logs.epochs_of(written(tmp_path, text))
    assert math.isnan(first["loss"]) and set(first) == {"epoch", "loss"} and second["loss"] == 0.5
    (third,) = logs.epochs_of(written(tmp_path, '{"epoch": 1, "loss": -Infinity}\n'))
    assert math.isnan(third["loss"])


def test_steps_are_thinned_out_and_every_extreme_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    norms = rng.uniform(1, 2, 5000)
    norms[[7, 4321]] = 90.0, 0.01
    norms[2000:2100] = np.nan
    records = [{"step": number, "gradient_norm": norm} for number, norm in enumerate(norms, 1)]
    steps = logs.steps_of(written(tmp_path, lines(records)))
    bins = steps.values["gradient_norm"]
    assert steps.count == steps.last == 5000 and "loss" not in steps.values
    assert len(bins.high) == logs.BINS and bins.first[0] == 1 and bins.last[-1] == 5000
    np.testing.assert_array_equal(bins.first[1:], bins.last[:-1] + 1)  # every step is in one bin
    for number in (7, 4321, 3000, 5000 - 1):
        (place,) = np.flatnonzero((bins.first <= number + 1) & (bins.last >= number + 1))
        of_bin = norms[bins.first[place] - 1 : bins.last[place]]
        assert (bins.low[place], bins.high[place]) == (of_bin.min(), of_bin.max())
    assert np.isnan(bins.high).sum() == 10 and np.isnan(bins.low[np.isnan(bins.high)]).all()


def test_steps_that_were_skipped_or_clipped(tmp_path):
    records = [{"step": number, "loss": 1.0, "gradient_norm": 1.0} for number in range(1, 60)]
    records[4] |= {"skipped": "not finite", "loss": None, "gradient_norm": math.nan}
    records[7] |= {"skipped": "spike", "gradient_norm": 50.0}
    records[8] |= {"clipped": 12.5}
    again = [{"step": 8, "loss": 0.5, "gradient_norm": 2.0}, {"step": "x"}, {"step": 0}]  # step 8 after a resume
    steps = logs.steps_of(written(tmp_path, lines(records + again)))
    assert [(one.step, one.kind, one.reason) for one in steps.events] == [
        (5, "skipped", "not finite"),
        (9, "clipped", ""),
    ]
    assert steps.event_counts == {("skipped", "not finite"): 1, ("clipped", ""): 1}
    assert steps.count == 59 and steps.values["loss"].low[7] == 0.5 and np.isnan(steps.values["loss"].low[4])


def test_many_events_are_counted_and_the_first_are_listed(tmp_path):
    records = [{"step": number, "skipped": "spike"} for number in range(1, 101)]
    steps = logs.steps_of(written(tmp_path, lines(records)))
    assert len(steps.events) == 20 and steps.event_counts == {("skipped", "spike"): 100}
    assert steps.event_steps.tolist() == list(range(1, 101)) and steps.values == {}

"""Numbers in words, and round numbers on axes."""

import math

import pytest

from keras_mae.run_report import numbers


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.47801, "plain", "0.478"),
        (0, "plain", "0"),
        (1234.5, "plain", "1,234"),
        (0.00015, "plain", "1.5e-4"),
        (-2e7, "plain", "-2e7"),
        (math.nan, "plain", "–"),
        (None, "share", "–"),
        (0.9871, "share", "98.7 %"),
        (1.21e9, "bytes", "1.21 GB"),
        (512, "bytes", "512 bytes"),
        (57.23, "count", "57.2"),
        (368.4, "count", "368"),
    ],
)
def test_a_number_in_words(value, kind, text):
    assert numbers.shown(value, kind) == text


@pytest.mark.parametrize(("seconds", "text"), [(7.2, "7 s"), (142, "2 min 22 s"), (3600 * 30 + 61, "30 h 01 min")])
def test_a_duration(seconds, text):
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 12, [0, 2.5, 5, 7.5, 10]), (0.43, 1.12, [0.6, 0.8, 1]), (3, 3, [3]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round(low, high, expected):
    assert numbers.ticks(low, high, 5) == pytest.approx(expected)


def test_ticks_of_epochs_are_whole():
    assert numbers.ticks(1, 5, 6, whole=True) == [1, 2, 3, 4, 5]
    assert numbers.ticks(1, 800, 6, whole=True) == [200, 400, 600, 800]


@pytest.mark.parametrize(("low", "high"), [(0.5, 90), (1e-6, 1e3), (2.1, 2.9), (1e-12, 1e30)])
def test_ticks_of_a_logarithmic_axis(low, high):
    found = numbers.log_ticks(low, high, 6)
    assert 2 <= len(found) <= 7 and found == sorted(found) and all(low * 0.99 <= one <= high * 1.01 for one in found)


def test_ticks_have_the_decimals_that_tell_them_apart():
    assert numbers.tick_texts([0.025, 0.0325, 0.04], "share") == ["2.50 %", "3.25 %", "4.00 %"]
    assert numbers.tick_texts([0.6, 0.8], "share") == ["60 %", "80 %"]
    assert numbers.tick_texts([0.5, 1.0], "plain") == ["0.5", "1.0"]
    assert numbers.tick_texts([0.0005, 0.001], "plain") == ["0.0005", "0.0010"]
    assert numbers.tick_texts([0.0, 2.5e-4], "plain") == ["0", "2.5e-4"]

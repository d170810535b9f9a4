"""Sides in processes of their own: their times, their memory, and what is said when one fails."""

import pytest

from benchmarks.turns import Side, take_turns


def test_times_and_memory_are_those_of_the_turns():
    small = Side("tests.benchmarks.sides:sleeping", {"seconds": 0.02})
    large = Side("tests.benchmarks.sides:sleeping", {"seconds": 0.1, "megabytes": 64})
    measured = take_turns({"small": small, "large": large}, rounds=3)
    assert 0.02 <= measured["small"].seconds < measured["large"].seconds
    assert measured["large"].first_seconds >= 0.1
    # sleep takes no time of the processor; to count 64 MB takes some
    assert measured["small"].processor_seconds < 0.01
    assert measured["small"].processor_seconds < measured["large"].processor_seconds
    # the interpreter's own growth stays far below 16 MB
    assert measured["large"].peak_bytes > 60 * 2**20 > 4 * measured["small"].peak_bytes


def test_a_side_may_tell_of_the_memory_of_a_device():
    measured = take_turns({"device": Side("tests.benchmarks.sides:on_a_device", {"peak_bytes": 12345})}, rounds=1)
    assert measured["device"].peak_bytes == 12345


def test_a_side_that_fails_says_why():
    with pytest.raises(RuntimeError, match="sides:failing failed: OSError: no such library"):
        take_turns({"failing": Side("tests.benchmarks.sides:failing")}, rounds=1)

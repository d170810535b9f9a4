"""Bars on a terminal, plain lines in files and pipes, by a clock that is ours."""

import io
import logging

import pytest

from keras_mae import progress as module
from keras_mae.commands.log_lines import AboveBars
from keras_mae.retrieval import blocks


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_pipe_gets_a_line_in_thirty_seconds_and_one_at_the_end(clock, capsys):
    with module.images_bar(10_000, 100, "embedded") as bar:
        for _ in range(99):
            clock.now += 1
            bar.update(100)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines() == [
        "embedded: 31%, 100.0 images/s, 01:09 left",
        "embedded: 61%, 100.0 images/s, 00:39 left",
        "embedded: 91%, 100.0 images/s, 00:09 left",
        "embedded: 100%, 100.0 images/s",
    ]
    assert captured.err.isascii() and not set("\r\033") & set(captured.err)


def test_a_line_at_the_end_of_an_epoch_puts_off_the_next(clock, capsys):
    bar = module.PlainLines(4000, 1000)
    bar.set_description_str("epoch 1/2, loss 0.5000", refresh=False)
    bar.set_postfix_str("gradient norm 1.7", refresh=False)
    for seconds in (20, 20, 20):
        clock.now += seconds
        bar.update(1000)
        if clock.now == 20:
            bar.refresh()
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/2, loss 0.5000: 50%, 50.0 images/s, 00:40 left, gradient norm 1.7",
        "epoch 1/2, loss 0.5000: 100%, 50.0 images/s, gradient norm 1.7",
    ]


def test_short_work_on_pairs_has_no_line(clock, capsys):
    with blocks.progress(100) as bar:
        bar.update(100)
    assert capsys.readouterr().err == ""
    with blocks.progress(3_000_000) as bar:
        clock.now += 40
        bar.update(1_000_000)
    assert capsys.readouterr().err == "compared: 33%, 25.0k pairs/s, 01:20 left\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    assert module.draws_bars()
    with module.images_bar(10, 1, "embedded") as bar:
        bar.update(9)
    assert terminal.getvalue().count("\r") > 0 and "100%" in terminal.getvalue()
    with monkeypatch.context() as patch:
        patch.setattr(terminal, "fileno", lambda: 2, raising=False)
        for size in ((80, 24), (0, 0)):  # of some terminals of containers it is not known
            patch.setattr(module.os, "get_terminal_size", lambda number, size=size: size)
            assert module.draws_bars() == bool(size[0])
    monkeypatch.setenv("TERM", "dumb")
    assert not module.draws_bars()


def test_a_line_of_the_log_does_not_end_up_in_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    log = logging.getLogger("tests.bars")
    log.addHandler(AboveBars(terminal))
    try:
        with module.images_bar(10, 1, "embedded"):
            log.warning("step 7 skipped")
    finally:
        log.handlers.clear()
    last_of_lines = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")]
    assert "step 7 skipped" in last_of_lines and terminal.getvalue().count("embedded") > 1  # drawn again

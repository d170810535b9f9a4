"""The page of a report in a headless Chromium, on a desktop and on a phone, as a user points, types and taps."""

import itertools
import os

import pytest

from keras_mae.run_report import svg, write_report
from tests.chromium import Chromium, needs_chromium
from tests.run_report.folders import epoch, write_picture, write_run

pytestmark = [needs_chromium, pytest.mark.medium]
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
LONG = "a_folder_of_a_run_with_a_long_name_" * 3
VISIBLE = "[...document.querySelectorAll('.slides figure')].filter(f => f.offsetHeight).map(f => f.dataset.name)"


def results():
    row = {"class": "x" * 60, "images": 3, "predicted": 3, "precision": 0.5, "recall": 0.5, "f1": 0.5, "auc": 0.5}
    best = {"epoch": 1, "top1": 0.5, "loss": 1.0}
    return {"program": "finetune", "top1": 0.5, "loss": 1.0, "best": best, "report": {"per_class": [row] * 4}}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a pretraining run, of a head, and of two runs, by name."""
    folder = tmp_path_factory.mktemp("runs")
    every = [
        epoch(number, 2 / number**2, gradient_norm=1.0, largest_gradient_norm=2.0, knn=0.5 + number / 100)
        for number in range(1, 11)
    ]
    steps = [{"step": number, "loss": 1.0, "gradient_norm": 0.1 * number} for number in range(1, 101)]
    steps[54] |= {"skipped": "not finite", "loss": None}
    run = write_run(
        folder / LONG, every, steps=steps, directory="/" + "long/" * 40, finished=False, data="folder:images"
    )
    for number in (1, 5, 10):
        write_picture(os.path.join(run, "reconstructions", f"epoch_{number:04}.png"), (1400, 300), number, noise=False)
    heads = [epoch(number, val_accuracy=0.5, val_loss=1.0) for number in (1, 2)]
    head = write_run(folder / "head", heads, recipe="finetune_digits", results=results())
    write_picture(os.path.join(head, "report", "confusions.png"), (900, 700))
    every[3] |= {"epoch": 10000, "step": 100000}
    other = write_run(folder / "other", every[:4], settings=("mask_ratio=0.5",))
    both = str(folder / "both.html")
    return {"run": write_report([run])[0], "head": write_report([head])[0], "both": write_report([run, other], both)[0]}


@pytest.fixture(scope="module")
def browser():
    with Chromium() as browser:
        yield browser


def opened(browser, path, size="desktop", **more):
    page = browser.open(path, *SIZES[size], **more)
    page.until("document.body.dataset.ready")
    return page


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["run", "head", "both"])
def test_it_fits_its_window_silently_and_asks_for_nothing(browser, pages, name, size, dark):
    page = opened(browser, pages[name], size, dark=dark)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    # nothing but tables, which scroll inside of their boxes, is wider than the window
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.wide') && e.getBoundingClientRect().right"
    assert page.evaluate(f"{wide} > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))") == []
    small = "[...document.querySelectorAll('svg.chart:not([hidden]) .tick')].map(e => e.getBoundingClientRect().height)"
    assert min(page.evaluate(small)) >= 11  # pixels: numbers on axes can be read
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") != dark
    assert page.errors == [] and page.requests == []


def test_ticks_stay_inside_of_their_picture(browser, pages):
    for size, name in itertools.product(SIZES, pages):
        page = opened(browser, pages[name], size)
        outside = f"e.getBBox().x < 0 || e.getBBox().x + e.getBBox().width > {svg.WIDTH}"
        ticks = "[...document.querySelectorAll('svg.chart:not([hidden]) .tick')]"
        assert page.evaluate(f"{ticks}.filter(e => {outside}).map(e => e.textContent)") == []


def test_the_pointer_tells_the_numbers_of_the_nearest_epoch(browser, pages):
    page = opened(browser, pages["run"])
    reading = "figure.chart .reading"
    assert page.text(reading) == "epoch 10: loss 0.02"
    box = "(b => [b.x, b.y + b.height / 2, b.width])(document.querySelector('svg.chart').getBoundingClientRect())"
    x, y, width = page.evaluate(box)
    across = svg.WIDTH - svg.LEFT - svg.RIGHT
    for number, text in ((4, "epoch 4: loss 0.125"), (1, "epoch 1: loss 2")):  # x runs from 0, where the steps begin
        page.mouse("mouseMoved", x + width * (svg.LEFT + number / 10 * across) / svg.WIDTH + 3, y)
        page.until(f"document.querySelector({reading!r}).textContent === {text!r}")
    page.mouse("mouseMoved", 5, 5)
    page.until(f"document.querySelector({reading!r}).textContent === 'epoch 10: loss 0.02'")


def test_arrow_keys_tell_them_too(browser, pages):
    page = opened(browser, pages["run"])
    page.evaluate("document.querySelector('svg.chart:not([hidden])').focus()")
    for key, text in (
        ("ArrowLeft", "epoch 9"),
        ("ArrowLeft", "epoch 8"),
        ("Home", "epoch 1:"),
        ("ArrowRight", "epoch 2:"),
    ):
        page.key(key)
        assert page.text("figure.chart .reading").startswith(text)
    assert page.evaluate("document.querySelector('svg.chart').getAttribute('aria-label')") == (
        "Loss: loss from 2 to 0.02 in epoch 10, between 0.02 and 2"
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_scale_changes_and_the_slider_moves(browser, pages, size):
    page = opened(browser, pages["run"], size)
    shown = "document.querySelector('figure.chart svg.chart:not([hidden])').dataset.scale"
    assert (page.evaluate(shown), page.text("figure.chart .scale")) == ("linear", "logarithmic scale")
    page.click_on("figure.chart .scale")
    page.until(f"{shown} === 'log'")
    assert page.text("figure.chart .scale") == "linear scale"
    assert page.evaluate(VISIBLE) == ["epoch 10"]
    page.evaluate("document.querySelector('.slider input').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", windowsVirtualKeyCode=37)
    page.until(f"String({VISIBLE}) === 'epoch 5'")
    assert page.text(".slider output") == "epoch 5"
    assert page.errors == [] and page.requests == []


def test_a_click_copies_a_command_line(browser, pages):
    page = opened(browser, pages["run"])
    page.evaluate("window.copied = null; navigator.clipboard.writeText = async text => { window.copied = text }")
    page.click_on(".command .copy")
    page.until("window.copied")
    assert page.evaluate("window.copied") == page.evaluate("document.querySelector('.command code').textContent")
    page.until("document.querySelector('.command .copy').textContent === 'Copied'")


def test_without_scripts_the_last_numbers_and_the_last_picture_are_there(browser, pages, tmp_path):
    with open(pages["run"], encoding="utf-8") as file:
        text = file.read()
    (tmp_path / "still.html").write_text(text.replace("script-src 'sha256-", "script-src 'sha256-x"), encoding="utf-8")
    page = browser.open(str(tmp_path / "still.html"), *SIZES["phone"])
    assert page.evaluate("document.body.dataset.ready") is None  # the policy lets no script run
    assert page.text("figure.chart .reading") == "epoch 10: loss 0.02" and page.evaluate(VISIBLE) == ["epoch 10"]
    hidden = "[...document.querySelectorAll('.scale, .copy, .slider')].every(e => e.offsetHeight === 0)"
    assert (
        page.evaluate(hidden)
        and page.evaluate("document.querySelector('svg.chart').getBoundingClientRect().height") > 100
    )

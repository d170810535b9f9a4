"""The map of 100,000 images: seconds to write it, size of the file, and time between frames in a headless Chromium.

    python -m benchmarks.embedding_map --images=100000 --dim=384

The vectors are random around 50 centres, the images crops of scikit-image's photographs. Chromium draws without a
graphics card. The page is moved, zoomed and pointed at through the DevTools protocol, at the size of a desktop and of a
phone. A screen shows a frame every 16.7 ms at most.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import numpy as np

CENTRES, SIDE = 50, 32
SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
_WATCH = (
    "(() => { window.frames_ = []; let last = performance.now(); const step = now => { frames_.push(now - last);"
    " last = now; requestAnimationFrame(step) }; requestAnimationFrame(step) })()"
)
# Keeps the map, which is no global, when it is drawn next; and draws it as often as a second of frames would
_KEEP = (
    "(() => { const draw = PointMap.prototype.draw; PointMap.prototype.draw = function () { window.map_ = this;"
    " draw.call(this) } })()"
)
_DRAWINGS = 20
_DRAW = f"for (let i = 0; i < {_DRAWINGS}; i++) map_.drawPoints(getComputedStyle(document.documentElement))"


def vectors_in(folder: str, num_images: int, dim: int) -> str:
    """Writes the images and their vectors; returns the path of the vectors."""
    from skimage import data

    from keras_mae.retrieval import write_vectors

    rng = np.random.default_rng(0)
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    images = np.empty((num_images, SIDE, SIDE, 3), "uint8")
    for image in images:
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (rng.integers(0, size - 2 * SIDE) for size in photograph.shape[:2])
        image[:] = photograph[top : top + 2 * SIDE : 2, left : left + 2 * SIDE : 2]
    np.savez(f"{folder}/images.npz", images=images)
    labels = rng.integers(0, CENTRES, num_images)
    centres = rng.normal(size=(CENTRES, dim)).astype("float32")
    array = centres[labels] + rng.normal(size=(num_images, dim)).astype("float32")
    names = [f"class {label:02}/photograph {number:06}.jpg" for number, label in enumerate(labels)]
    header = {"data": f"npz:{folder}/images.npz", "image_shape": [SIDE, SIDE, 3]}
    write_vectors(f"{folder}/vectors.parquet", names, np.arange(num_images), labels, array, header)
    return f"{folder}/vectors.parquet"


def written(vectors: str, path: str) -> dict[str, float]:
    """Writes the map; returns what it is like, and the seconds."""
    from keras_mae.retrieval import open_vectors
    from keras_mae.retrieval.map import write_map

    begin = time.perf_counter()
    facts = write_map(open_vectors(vectors), path)
    seconds = time.perf_counter() - begin
    return {
        "seconds": round(seconds, 1),
        "megabytes": round(facts.num_bytes / 1e6, 1),
        "thumbnails": facts.num_thumbnails,
    }


def frames(browser, path: str, size: str) -> dict[str, object]:
    """Opens the page and uses it: seconds until it is drawn, time between frames, and processor time of a drawing."""
    begin = time.perf_counter()
    page = browser.open(path, *SIZES[size])
    page.until("document.body.dataset.ready && document.getElementById('map').dataset.drawn")
    found: dict[str, object] = {"seconds_to_open": round(time.perf_counter() - begin, 1)}
    found["drawn"] = page.evaluate("Number(document.getElementById('map').dataset.drawn)")
    page.evaluate(_WATCH)
    x, y = page.middle("#map")
    page.mouse("mouseMoved", x, y)

    def drag(step: int) -> None:
        page.mouse("mouseMoved", x + 3 * step, y + 2 * step, button="left", buttons=1)

    actions = {
        "moving": drag,
        "zooming": lambda step: page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-40 if step % 20 < 10 else 40),
        "pointing": lambda step: page.mouse("mouseMoved", x - 4 * step, y + 2 * step),
    }
    for name, action in actions.items():
        button = {"button": "left", "buttons": 1} if name == "moving" else {}
        page.evaluate("frames_.length = 0")
        page.mouse("mousePressed" if button else "mouseMoved", x, y, **button)
        for step in range(60):
            action(step)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        times = page.evaluate("frames_")
        page.mouse("mouseReleased" if button else "mouseMoved", x, y, **button)
        found[name] = {"median_ms": round(float(np.median(times)), 1), "longest_ms": round(max(times), 1)}
    found["errors"] = len(page.errors)
    page.call("Performance.enable", timeDomain="threadTicks")
    page.evaluate(_KEEP)
    page.click_on("#zoom button:last-child")
    page.until("window.map_")
    page.evaluate(_DRAW)  # which the browser compiles meanwhile
    begin = _processor_seconds(page)
    page.evaluate(_DRAW)
    found["processor_ms_to_draw"] = round(1000 * (_processor_seconds(page) - begin) / _DRAWINGS, 1)
    return found


def _processor_seconds(page) -> float:
    """Of the page so far, whatever else the machine does."""
    metrics = page.call("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def result(num_images: int, dim: int) -> dict[str, object]:
    """All of it."""
    from tests.chromium import Chromium

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "map.html")
        record: dict[str, object] = {"images": num_images, "dim": dim}
        record |= written(vectors_in(folder, num_images, dim), path)
        with Chromium() as browser:
            record |= {size: frames(browser, path, size) for size in SIZES}
    return record


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    given = parser.parse_args()
    print(json.dumps(result(given.images, given.dim), indent=2))

"""Draws `docs/report.png` and `docs/report_phone.png`: the top of a run's report, on a desktop and on a phone.

    python -m benchmarks.report_pictures --run=runs/digits

The run in the docs is `keras-mae pretrain --data=digits --output=runs/digits --recipe=mae_digits`. It needs Chromium.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import tempfile

from PIL import Image

from keras_mae.run_report import write_report

SIZES = {"report": (1280, 1180, False), "report_phone": (390, 1180, True)}


def draw(run: str, output: str) -> list[str]:
    """Writes both pictures, and returns their paths.

    Args:
        run: the run's folder, in which no file is changed.
        output: the folder of the pictures.
    """
    from tests.chromium import Chromium

    written = []
    with tempfile.TemporaryDirectory() as folder, Chromium() as browser:
        page_file, *_ = write_report([run], os.path.join(folder, "report.html"))
        for name, (width, height, phone) in SIZES.items():
            page = browser.open(page_file, width, height, phone)
            page.until("document.body.dataset.ready")
            content = page.call("Page.captureScreenshot", format="png")["data"]
            if page.errors:
                raise RuntimeError(f"the page says {page.errors}")
            picture = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
            written.append(os.path.join(output, f"{name}.png"))
            # a palette makes the file a third as large, and no colour differs by more than a few levels
            picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(written[-1], optimize=True)
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--output", default="docs")
    given = parser.parse_args()
    for path in draw(given.run, given.output):
        print(f"wrote {path}, {os.path.getsize(path) / 1000:.0f} kB")

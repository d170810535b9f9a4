"""The pictures of a run, small enough for one page."""

from __future__ import annotations

import base64
import dataclasses
import glob
import io
import os
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from keras_mae.run_report import tags
from keras_mae.run_report.record import RunRecord
from keras_mae.run_report.tags import Markup, text
from keras_mae.trainers import run

_SLIDES = 12  # pictures over the epochs
_SEGMENTED = 8
_ROOM = 5_500_000  # bytes of all pictures of a page, which base64 makes a third larger
_WIDTHS = ((1200, 85), (900, 80), (600, 75), (400, 70))  # in pixels, and the quality of a JPEG file
_NAMES = {
    "confusions": "How often an image of each class was taken for each class",
    "curves": "ROC curves and precision-recall curves",
    "calibration": "How often predictions of a confidence are right",
    "predictions": "Predicted numbers against the labels",
    "scatter": "Predicted numbers against the labels",
    "reconstructions": "Masked images and their reconstructions",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Attributes:
        path: of the PNG file.
        title: what it shows.
        group: `epochs`, whose pictures share a place, `report` or `segmentations`.
    """

    path: str
    title: str
    group: str


class Pictures:
    """Pictures of one or several runs, which share the room of a page.

    Args:
        runs: whose pictures are shown.
        last_only: whether only the last reconstructions of each run are shown.
    """

    def __init__(self, runs: Sequence[RunRecord], last_only: bool = False) -> None:
        self.notes: list[str] = []
        self._chosen = [self._last(one) if last_only else self._all(one) for one in runs]
        count = sum(map(len, self._chosen))
        share = _ROOM / max(1, count)
        self._data = {picture.path: _embedded(picture.path, share) for pictures in self._chosen for picture in pictures}
        broken = [path for path, data in self._data.items() if data is None]
        if broken:
            self.notes.append(f"Pictures that cannot be read or shown: {', '.join(map(os.path.basename, broken))}.")

    def of_epochs(self) -> list[Markup]:
        """The pictures over the epochs of a run, of which a slider shows one."""
        shown = [one for one in self._chosen[0] if one.group == "epochs" and self._data[one.path]]
        if not shown:
            return []
        figures = [self._figure(one, hidden=one is not shown[-1], slide=True) for one in shown]
        last = len(shown) - 1
        slider = (
            f'<label class="slider" hidden>Epoch <input type="range" min="0" max="{last}" value="{last}" step="1">'
            f"<output>{text(shown[-1].title)}</output></label>"
        )
        return [Markup(f'<div class="slides">\n{slider if last else ""}\n' + "\n".join(figures) + "\n</div>")]

    def of_group(self, group: str) -> list[Markup]:
        """The pictures of a group beside each other."""
        shown = [one for pictures in self._chosen for one in pictures if one.group == group and self._data[one.path]]
        return [Markup('<div class="pictures">\n' + "\n".join(map(self._figure, shown)) + "\n</div>")] if shown else []

    def _figure(self, one: Picture, hidden: bool = False, slide: bool = False) -> Markup:
        mime, data, (width, height) = self._data[one.path] or ("", "", (0, 0))
        said = f"{_NAMES['reconstructions']}, {one.title}" if one.group == "epochs" else one.title
        return Markup(
            f'<figure data-name="{text(one.title)}"{" hidden" if hidden else ""}>'
            f'<img alt="{text(said)}" width="{width}" height="{height}" src="data:image/{mime};base64,{data}">'
            f"<figcaption>{text(said)}</figcaption></figure>"
        )

    def _all(self, one: RunRecord) -> list[Picture]:
        slides, segmented = _epochs(one), _files(one.file(run.SEGMENTATIONS))
        kept = [slides[place] for place in _evenly(len(slides), _SLIDES)]
        if len(kept) < len(slides):
            self.notes.append(
                f"{len(kept)} of {len(slides)} pictures over the epochs are shown, the first and last too."
            )
        drawn = [one.file(os.path.join(run.PICTURES, run.RECONSTRUCTIONS)), one.file(run.RECONSTRUCTIONS)]
        drawn = list(filter(os.path.isfile, drawn))
        found = kept + [
            Picture(path, f"{_NAMES['reconstructions']}, of the finished run", "report") for path in drawn[:1]
        ]
        found += [Picture(path, _named(path), "report") for path in _files(one.file(run.REPORT))]
        found += [Picture(path, f"{_named(path)}, computed again", "report") for path in _files(one.file(run.REPLAY))]
        if len(segmented) > _SEGMENTED:
            self.notes.append(f"{_SEGMENTED} of {len(segmented)} pictures of segmented images are shown.")
        return found + [
            Picture(segmented[place], f"Segmented image {_stem(segmented[place])}", "segmentations")
            for place in _evenly(len(segmented), _SEGMENTED)
        ]

    def _last(self, one: RunRecord) -> list[Picture]:
        return [
            dataclasses.replace(last, title=f"{one.name}, {last.title}", group="last") for last in _epochs(one)[-1:]
        ]


def _epochs(one: RunRecord) -> list[Picture]:
    """The pictures over the epochs, in order."""
    numbered = [(re.fullmatch(r"epoch_(\d+)", _stem(path)), path) for path in _files(one.file(run.PICTURES))]
    found = sorted((int(match[1]), path) for match, path in numbered if match)
    return [Picture(path, f"epoch {epoch:,}", "epochs") for epoch, path in found]


def _files(folder: str) -> list[str]:
    return sorted(filter(os.path.isfile, glob.glob(os.path.join(glob.escape(folder), "*.png"))))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _named(path: str) -> str:
    stem = _stem(path)
    return _NAMES.get(stem, stem.replace("_", " "))


def _evenly(count: int, most: int) -> list[int]:
    """Places of at most so many, evenly chosen, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


def _embedded(path: str, room: float) -> tuple[str, str, tuple[int, int]] | None:
    """The kind, the base64 and the size of a picture in at most so many bytes: the file itself if it is small enough.

    None for a file that cannot be read, such as one that is being written, or that has no room.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as opened:
            size = opened.size
            if len(content) <= min(room, 150_000) and size[0] <= _WIDTHS[0][0]:
                opened.load()
                return "png", base64.b64encode(content).decode(), size
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    for width, quality in _WIDTHS:
        small = picture
        if picture.width > width:
            small = picture.resize(
                (width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS
            )
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, subsampling=0)  # `optimize` fails for noise
        if buffer.tell() <= room:
            return "jpeg", base64.b64encode(buffer.getvalue()).decode(), small.size
    return None


def heading_of(group: str) -> Markup:
    """What stands over the pictures of segmented images."""
    return tags.heading("Segmented images" if group == "segmentations" else "Pictures")

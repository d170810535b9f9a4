"""The pictures of a run: chosen evenly, and small enough together."""

import base64
import io
import os
import re
import shutil

import pytest
from PIL import Image

from keras_mae.run_report import pictures
from keras_mae.run_report.record import RunRecord
from tests.run_report.folders import write_picture, write_run


def shown(texts):
    """The images in HTML, by their alternative texts."""
    found = re.findall(
        r'<img alt="([^"]*)" width="(\d+)" height="(\d+)" src="data:image/\w+;base64,([^"]*)">', "".join(texts)
    )
    opened = {alt: Image.open(io.BytesIO(base64.b64decode(data))) for alt, _, _, data in found}
    assert all(opened[alt].size == (int(width), int(height)) for alt, width, height, _ in found)
    return opened


def test_pictures_over_the_epochs_are_chosen_evenly_and_the_last_is_seen_without_a_script(tmp_path):
    path = write_run(tmp_path / "run")
    for number in range(1, 31):
        write_picture(os.path.join(path, "reconstructions", f"epoch_{number:04}.png"), seed=number, noise=False)
    write_picture(os.path.join(path, "reconstructions", "reconstructions.png"))
    found = pictures.Pictures([RunRecord(path)])
    (slides,) = found.of_epochs()
    numbers = [int(one) for one in re.findall(r'data-name="epoch (\d+)"', slides)]
    assert len(numbers) == 12 and numbers[0] == 1 and numbers[-1] == 30 and numbers == sorted(numbers)
    assert slides.count(" hidden><img") == 11 and 'data-name="epoch 30">' in slides and 'max="11" value="11"' in slides
    images = shown([slides])
    assert images["Masked images and their reconstructions, epoch 30"].getpixel((0, 0)) == (70, 70, 70)
    assert found.notes == ["12 of 30 pictures over the epochs are shown, the first and last too."]
    assert list(shown(found.of_group("report"))) == ["Masked images and their reconstructions, of the finished run"]


def test_a_run_without_pictures_and_one_with_a_single_one(tmp_path):
    path = write_run(tmp_path / "run")
    assert pictures.Pictures([RunRecord(path)]).of_epochs() == []
    write_picture(os.path.join(path, "reconstructions", "epoch_0010.png"))
    (slides,) = pictures.Pictures([RunRecord(path)]).of_epochs()
    assert "range" not in slides and list(shown([slides])) == ["Masked images and their reconstructions, epoch 10"]


def test_pictures_that_are_torn_or_no_pictures_are_named(tmp_path):
    path = write_run(tmp_path / "run")
    write_picture(os.path.join(path, "report", "curves.png"))
    whole = (tmp_path / "run" / "report" / "curves.png").read_bytes()
    (tmp_path / "run" / "report" / "confusions.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "run" / "report" / "calibration.png").write_bytes(b"no picture")
    found = pictures.Pictures([RunRecord(path)])
    assert list(shown(found.of_group("report"))) == ["ROC curves and precision-recall curves"]
    assert found.notes == ["Pictures that cannot be read or shown: calibration.png, confusions.png."]


@pytest.mark.medium
def test_all_pictures_together_fit_into_a_page(tmp_path):
    path = write_run(tmp_path / "run")
    noise = os.path.join(path, "reconstructions", "epoch_0000.png")
    write_picture(noise, (1500, 900))
    for number in range(1, 12):
        shutil.copy(noise, os.path.join(path, "reconstructions", f"epoch_{number:04}.png"))
    (slides,) = pictures.Pictures([RunRecord(path)]).of_epochs()
    images = shown([slides])
    assert len(images) == 12 and len(slides) < 8e6 and min(one.width for one in images.values()) >= 400


def test_of_several_runs_the_last_pictures_are_shown(tmp_path):
    paths = [write_run(tmp_path / name) for name in ("a", "<b>")]
    for path in paths:
        for number in (1, 2):
            write_picture(os.path.join(path, "reconstructions", f"epoch_{number:04}.png"), seed=number)
    found = pictures.Pictures([RunRecord(path) for path in paths], last_only=True)
    assert list(shown(found.of_group("last"))) == ["a, epoch 2", "&lt;b&gt;, epoch 2"]

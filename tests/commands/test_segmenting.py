"""`keras-mae segment`: what it prints, refuses, and what a card says of its runs."""

import os

import pytest

from keras_mae.commands.run_facts import quality_of
from keras_mae.commands.segmenting import pixel_lines
from keras_mae.trainers import run
from keras_mae.trainers.config import to_json
from keras_mae.trainers.pixel_report import PixelReport
from keras_mae.trainers.segment_config import SegmentConfig
from tests.typed import refused


def report():
    pixels = PixelReport(["sky", "sea", "sand"])
    pixels.confusions[:] = [[6, 2, 0], [0, 2, 0], [0, 0, 0]]
    pixels.num_images = 4
    return pixels.results()


def test_what_it_prints():
    assert pixel_lines(report()) == [
        "mean IoU 62.5 %, pixel accuracy 80.0 %; the largest class: 80.0 % of the pixels of 4 images",
        "class        pixels        IoU   accuracy",
        "sky               8     75.0 %     75.0 %",
        "sea               2     50.0 %    100.0 %",
        "sand              0          -          -",
        "classes neither in the masks nor in the predictions, left out of the mean IoU (1 of 3): sand",
    ]
    many = PixelReport(list(map(str, range(40))))
    many.confusions[0, 0] = many.num_images = 1
    assert len(pixel_lines(many.results())) == 2  # without the table


def test_rows_of_a_card(tmp_path):
    folder = run.RunFolder(str(tmp_path))
    folder.write_json(run.CONFIG, {"data": "pairs:/data/images,/data/masks", "config": to_json(SegmentConfig())})
    folder.write_json(
        run.RESULTS, {"program": "segment", **report(), "best": None, "epochs": 2, "validation_images": 4}
    )
    where = "(segment, 4 images of `pairs:images,masks`)"
    assert quality_of(folder, []) == [
        (f"mean IoU {where}", "62.5 %"),
        (f"pixel accuracy {where}", "80.0 %"),
        (f"always the largest class {where}", "80.0 %"),
    ]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--data=pairs:a,b", "--output=b"], "--output=b is what --data is read from; name another folder"),
        (["--data=pairs:a,b", "--output=c", "--recipe=finetune_digits"],
         "is a recipe for keras-mae finetune, not for segment; for that there are: segment_small_images, segment_vit_"),
        (["--data=pairs:a,b", "--output=c", "--set=mixup=0.8"], "there is no setting 'mixup'"),
        (["--data=pairs:a,b", "--output=c", "--set=evaluation=slid"], "called 'slid'; did you mean slide"),
        (["--data=pairs:a,b", "--output=c", "--set=design=upernet"], "called 'upernet'; there are: linear, mask_trans"),
        (["--data=pairs:a,b", "--output=c", "--set=num_classes=1"], "data.num_classes lies in [2, 4096]"),
        (["--data=HERE", "--output=c"], "type --data=pairs:HERE,MASKS, where MASKS is the folder of the masks"),
        (["--data=HERE,HERE/b", "--output=c"], "got 'HERE,HERE/b'; type --data=pairs:HERE,HERE/b"),
        (["--data=HERE/both", "--output=c"], "type --data=pairs:HERE/both/images,HERE/both/masks"),
        (["--data=pairs:a,b"], "needs --output; see keras-mae segment --help"),
    ],
)  # fmt: skip
def test_flags_that_are_refused(arguments, said, capfd, tmp_path):
    for name in ("images", "masks"):
        os.makedirs(tmp_path / "both" / name)
    arguments = [one.replace("HERE", str(tmp_path)) for one in arguments]
    assert said.replace("HERE", str(tmp_path)) in refused(capfd, "segment", *arguments)
